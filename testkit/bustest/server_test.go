// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(LeakOptions()...); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

func stream(t *testing.T, js jetstream.JetStream, replicas int) jetstream.Stream {
	t.Helper()
	st, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "MAIL", Subjects: []string{"mail.>"}, Replicas: replicas,
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// publish asks again while a stream that was just made has no leader yet.
func publish(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range n {
		_, err := js.Publish(ctx, "mail.0", fmt.Appendf(nil, "m%d", i),
			jetstream.WithRetryAttempts(100), jetstream.WithRetryWait(100*time.Millisecond))
		if err != nil {
			t.Fatalf("publish %d: %v", i, err)
		}
	}
}

func count(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	st, err := js.Stream(t.Context(), "MAIL")
	if err != nil {
		t.Fatal(err)
	}
	return st.CachedInfo().State.Msgs
}

func TestEmbedded(t *testing.T) {
	t.Parallel()
	s := Start(t)
	stream(t, s.JetStream(), 1)
	publish(t, s.JetStream(), 3)
	if n := count(t, s.JetStream()); n != 3 {
		t.Errorf("%d messages", n)
	}
	if !s.NATS().JetStreamConfig().SyncAlways {
		t.Error("writes are not synced")
	}
	if a := s.NATS().Addr(); a != nil {
		t.Errorf("the server listens on %s", a)
	}
	if s.Conn().Opts.ReconnectBufSize != -1 {
		t.Error("the connection has a reconnect buffer")
	}
}

func TestRestartKeepsTheStore(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*Server){"clean": (*Server).Restart, "crash": (*Server).Crash} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Start(t)
			stream(t, s.JetStream(), 1)
			for i := range 3 {
				publish(t, s.JetStream(), 10)
				again(s)
				if n := count(t, s.JetStream()); n != uint64(10*(i+1)) {
					t.Errorf("round %d: %d messages", i, n)
				}
			}
		})
	}
}

// TestCrashKeepsWhatWasAcknowledged publishes all the time: what was acknowledged before the cut must be there after.
func TestCrashKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	s := Start(t)
	stream(t, s.JetStream(), 1)
	acked := make(chan int, 1)
	started := make(chan struct{}, 1)
	js, err := jetstream.New(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		n := 0
		for {
			if _, err := js.Publish(ctx, "mail.0", []byte("x")); err != nil {
				acked <- n
				return
			}
			if n++; n == 20 {
				started <- struct{}{}
			}
		}
	}()
	<-started
	s.Crash()
	cancel() // the publish whose answer was cut off would wait for it
	n := <-acked
	if got := count(t, s.JetStream()); got < uint64(n) || got > uint64(n)+1 {
		t.Errorf("%d messages after the crash, %d acknowledged before", got, n)
	}
}

// TestCrashSkipsTheClosingWork looks for the file that only an orderly shutdown leaves in this state.
func TestCrashSkipsTheClosingWork(t *testing.T) {
	t.Parallel()
	find := func(s *Server) bool {
		all, err := filepath.Glob(filepath.Join(s.StoreDir(), "jetstream", "$G", "streams", "MAIL", "msgs", "index.db"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all) == 1
	}
	s := Start(t)
	stream(t, s.JetStream(), 1)
	publish(t, s.JetStream(), 10)
	before := s.StoreDir()
	next := filepath.Join(t.TempDir(), "copy")
	if err := copyStable(next, before); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(next, "jetstream", "$G", "streams", "MAIL", "msgs", "1.blk")); err != nil {
		t.Errorf("the copy has no message block: %v", err)
	}
	running := find(s)
	s.Stop()
	if running || !find(s) {
		t.Errorf("index while running: %v, after shutdown: %v", running, find(s))
	}
	s.StartAgain()
	s.Crash()
	if s.StoreDir() == before {
		t.Error("the store was not copied")
	}
	if _, err := os.Stat(before); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old store is still there: %v", err)
	}
}

func TestStopMakesPublishFail(t *testing.T) {
	t.Parallel()
	s := Start(t)
	stream(t, s.JetStream(), 1)
	s.Stop()
	s.Stop()
	if s.NATS() != nil {
		t.Error("the server is still there")
	}
	if err := s.Conn().Publish("mail.0", []byte("x")); err == nil {
		t.Error("publish while the server is away was taken")
	}
	if _, err := nats.Connect("", s.ConnOptions()...); err == nil {
		t.Error("connected to a stopped server")
	}
	s.StartAgain()
	publish(t, s.JetStream(), 1)
	if n := count(t, s.JetStream()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	s := StartWith(t, Options{Listen: true})
	url := s.URL()
	nc, err := nats.Connect(url, connOptions(s.log)...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream(t, js, 1)
	publish(t, js, 1)
	up := nc.StatusChanged(nats.CONNECTED)
	s.Crash()
	if s.URL() != url {
		t.Errorf("address %s after the crash, %s before", s.URL(), url)
	}
	select {
	case <-up:
	case <-time.After(patience):
		t.Fatal("not connected again")
	}
	if n := count(t, js); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestCutConnections(t *testing.T) {
	t.Parallel()
	s := Start(t)
	nc := s.Connect()
	down, up := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	s.CutConnections()
	for _, c := range []chan nats.Status{down, up} {
		select {
		case <-c:
		case <-time.After(patience):
			t.Fatal("no change of state")
		}
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Error(err)
	}
}

func TestHoldReplies(t *testing.T) {
	t.Parallel()
	s := Start(t)
	st := stream(t, s.JetStream(), 1)
	s.HoldReplies()
	ack, err := s.JetStream().PublishAsync("mail.0", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	// The server stored it: seen on its own side, since no answer comes out.
	for stored := uint64(0); stored == 0; {
		info, err := s.NATS().Jsz(nil)
		if err != nil {
			t.Fatal(err)
		}
		stored = info.Messages
	}
	select {
	case <-ack.Ok():
		t.Fatal("the answer came through")
	case err := <-ack.Err():
		t.Fatal(err)
	default:
	}
	s.ReleaseReplies()
	select {
	case got := <-ack.Ok():
		if got.Sequence != 1 {
			t.Errorf("sequence %d", got.Sequence)
		}
	case err := <-ack.Err():
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("no answer after the release")
	}
	if info, err := st.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestConfigure(t *testing.T) {
	t.Parallel()
	s := StartWith(t, Options{MaxStore: 1 << 20, StoreDir: t.TempDir()})
	_, err := s.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "BIG", Subjects: []string{"big"}, MaxBytes: 1 << 30,
	})
	if err == nil {
		t.Error("a stream over the limit of the store was created")
	}
}

// recorder is a testing.TB that keeps what is reported to it.
type recorder struct {
	testing.TB
	said     []string
	failed   bool
	cleanups []func()
}

func (r *recorder) Helper()      {}
func (r *recorder) Failed() bool { return r.failed }

func (r *recorder) Logf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Logf(format, args...)
	r.failed = true
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// misuse runs a function that shall fail its test and gives what it reported.
func misuse(t *testing.T, f func(rec *recorder)) string {
	t.Helper()
	rec := &recorder{TB: t}
	done := make(chan struct{})
	go func() { defer close(done); f(rec) }()
	<-done
	for i := len(rec.cleanups) - 1; i >= 0; i-- {
		rec.cleanups[i]()
	}
	return strings.Join(rec.said, "\n")
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]func(rec *recorder){
		"the server runs already":    func(rec *recorder) { Start(rec).StartAgain() },
		"the server does not run":    func(rec *recorder) { s := Start(rec); s.Stop(); s.Crash() },
		"the server has no listener": func(rec *recorder) { _ = Start(rec).URL() },
		"bustest: connect: ":         func(rec *recorder) { s := Start(rec); s.Stop(); s.Conn() },
		"is not a directory":         func(rec *recorder) { StartWith(rec, Options{StoreDir: file}) },
		"listen tcp: address 70000":  func(rec *recorder) { StartWith(rec, Options{Listen: true, Port: 70000}) },
		"nats warning: disk is low":  func(rec *recorder) { s := Start(rec); s.log.Warnf("disk is %s", "low"); rec.Fatal("x") },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			if got := misuse(t, f); !strings.Contains(got, want) {
				t.Errorf("reported %q, want %q", got, want)
			}
		})
	}
}

func TestCopyStableOfNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := copyStable(filepath.Join(dir, "to"), filepath.Join(dir, "missing")); err == nil {
		t.Error("a store that is not there was copied")
	}
}
