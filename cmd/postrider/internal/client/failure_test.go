// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/kit/rpc"
)

// check is a call of any kind.
func check(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

func failure(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	f, ok := errors.AsType[*client.Failure](err)
	if !ok || f.Code != code || f.Reason != reason {
		t.Fatalf("got %#v, want a Failure of %s %s", err, code, reason)
	}
}

func TestCall_UnreachableServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	err = client.Options{Server: address}.Call(t.Context(), check)
	failure(t, err, codes.Unavailable, "SERVER_UNREACHABLE")
	if want := "cannot reach " + address + ": connection refused (is postrider serve running?"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("text %q, want %q", err, want)
	}
}

func TestCall_ServerThatEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	err = client.Options{Server: l.Addr().String()}.Call(t.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		watch, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return err
		}
		if _, err := watch.Recv(); err != nil {
			return err
		}
		s.Stop()
		_, err = watch.Recv()
		return err
	})
	failure(t, err, codes.Unavailable, "CONNECTION_BROKEN")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCall_AnswersStayAsTheyAre(t *testing.T) {
	for _, answer := range []error{
		nil, errors.New("any"),
		(&rpc.Error{Code: codes.Unavailable, Reason: "NOT_READY", Message: "not yet"}).GRPCStatus().Err(),
		(&rpc.Error{Code: codes.DeadlineExceeded, Reason: "DEADLINE_EXCEEDED"}).GRPCStatus().Err(),
	} {
		got := client.Options{Server: "127.0.0.1:1"}.Call(t.Context(), func(context.Context, *grpc.ClientConn) error { return answer })
		if !errors.Is(got, answer) {
			t.Errorf("got %v, want %v", got, answer)
		}
	}
}

func TestDial_TokenFile(t *testing.T) {
	_, err := client.Options{Server: "127.0.0.1:1", TokenFile: filepath.Join(t.TempDir(), "none")}.Dial()
	failure(t, err, codes.InvalidArgument, "TOKEN_FILE")
}
