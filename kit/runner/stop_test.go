// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/rpc"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
)

// TestRun_StopsInOrder: Stopping first, then calls under way end while the service still works, then the service drains.
func TestRun_StopsInOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(what string) { mu.Lock(); defer mu.Unlock(); order = append(order, what) }
	inside := make(chan struct{})
	s := &stub{}
	s.preview = func(context.Context) error {
		close(inside)
		<-s.env.Stopping
		note("call ends")
		return nil
	}
	s.run = func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		note("service drains")
		return nil
	}
	p := startProcess(t, process(unit("stub", loopback(), s)))
	answered := make(chan error, 1)
	conn := dial(t, p.GRPC.String(), rpc.ClientOptions{})
	go func() {
		_, err := dsnv1.NewDsnServiceClient(conn).Preview(context.Background(), &dsnv1.PreviewRequest{})
		answered <- err
	}()
	<-inside
	if err := p.end(t); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if got := strings.Join(order, ", "); got != "call ends, service drains" {
		t.Errorf("order: %s", got)
	}
}

func TestRun_AServiceThatFailsStopsTheProcess(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		run  func(context.Context, func()) error
		want string
	}{
		"error":                 {func(context.Context, func()) error { return broken }, "bad: broken"},
		"error after ready":     {func(_ context.Context, ready func()) error { ready(); return broken }, "bad: broken"},
		"ends without a reason": {func(context.Context, func()) error { return nil }, "bad: ended before it was told to"},
	} {
		t.Run(name, func(t *testing.T) {
			drained := make(chan struct{})
			good := &stub{run: func(ctx context.Context, ready func()) error { ready(); <-ctx.Done(); close(drained); return nil }}
			bad := &stub{register: func(grpc.ServiceRegistrar) {}, run: tt.run}
			p, _ := begin(t, process(unit("good", loopback(), good), unit("bad", loopback(), bad)))
			select {
			case err := <-p.ended:
				if err == nil || err.Error() != tt.want {
					t.Errorf("got %v", err)
				}
			case <-time.After(patience):
				t.Fatal("does not end")
			}
			select {
			case <-drained:
			default:
				t.Error("the other service did not drain")
			}
		})
	}
}

func TestRun_AServiceThatHangsIsNotWaitedForForever(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	proc := process(unit("stub", loopback(), &stub{run: func(_ context.Context, ready func()) error { ready(); <-release; return nil }}))
	proc.Stop = 100 * time.Millisecond
	p := startProcess(t, proc)
	if err := p.end(t); err == nil || !strings.Contains(err.Error(), "not stopped within 100ms") {
		t.Errorf("got %v", err)
	}
}
