// SPDX-License-Identifier: Apache-2.0

package embeddednats_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/cmd/postrider/internal/embeddednats"
)

func start(t *testing.T, dir string) *embeddednats.Server {
	t.Helper()
	s, err := embeddednats.Start(embeddednats.Options{Dir: dir, MaxStore: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStoredMessagesSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := t.Context()

	first := start(t, dir)
	nc, err := first.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if err := first.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	second := start(t, dir)
	defer second.Stop(context.Background())
	nc, err = second.Connect("test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(ctx, 1)
	if err != nil || string(msg.Data) != "kept" {
		t.Fatalf("got %v, %v", msg, err)
	}
}

func TestDirectoryBelongsToOneProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	_, err := embeddednats.Start(embeddednats.Options{Dir: dir, MaxStore: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, embeddednats.ErrInUse) {
		t.Fatalf("second start: %v, want ErrInUse", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	if err := again.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStoreOfAClusterMemberIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "jetstream", "$SYS", "_js_", "_meta_"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := embeddednats.Start(embeddednats.Options{Dir: dir, MaxStore: 64 << 20, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, embeddednats.ErrClusterStore) {
		t.Fatalf("start: %v, want ErrClusterStore", err)
	}
}

func TestUnusableDirectoryIsAnError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embeddednats.Start(embeddednats.Options{Dir: file, MaxStore: 1 << 20, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Fatal("a file was taken for a directory")
	}
}

// TestClusterMemberDoesNotStartOnTheStore starts what somebody would who makes a member of a cluster of an embedded server.
func TestClusterMemberDoesNotStartOnTheStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 { // the second start finds the guard
		s := start(t, dir)
		nc, err := s.Connect("test")
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(t.Context())
		if err != nil || info.State.Msgs == 0 {
			t.Fatalf("%v, %v", info, err)
		}
		nc.Close()
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		member, err := server.NewServer(&server.Options{
			ServerName: "n1", Host: "127.0.0.1", Port: -1, NoSigs: true, JetStream: true, StoreDir: dir,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}, Routes: server.RoutesFromStr("nats://127.0.0.1:1"),
		})
		if err != nil {
			t.Fatal(err)
		}
		log := &fatal{}
		member.SetLoggerV2(log, false, false, false)
		member.Start()
		if log.text == "" {
			t.Error("the member has started")
		}
		member.Shutdown()
		member.WaitForShutdown()
		if _, err := os.Stat(filepath.Join(dir, "jetstream", "$G", "streams", "S")); err != nil {
			t.Errorf("the stream is gone: %v", err)
		}
	}
}

// fatal keeps the last word of a server that cannot start; a program of its own ends with that.
type fatal struct{ text string }

func (f *fatal) Fatalf(format string, v ...any) { f.text = fmt.Sprintf(format, v...) }
func (*fatal) Noticef(string, ...any)           {}
func (*fatal) Warnf(string, ...any)             {}
func (*fatal) Errorf(string, ...any)            {}
func (*fatal) Debugf(string, ...any)            {}
func (*fatal) Tracef(string, ...any)            {}
