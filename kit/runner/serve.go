// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// serve runs the servers and the services and stops them in order: first health says no and calls under way end, then
// the services drain.
func (r *run) serve(ctx context.Context) error {
	// The services' context outlives ctx until the gRPC server has drained.
	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	callCtx, stopCalls := context.WithCancel(ctx)
	defer stopCalls()

	work := newResults(len(r.services))
	var waiting sync.WaitGroup
	for i, service := range r.services {
		waiting.Add(1)
		ready := sync.OnceFunc(waiting.Done)
		go func() {
			err := service.Run(workCtx, ready)
			if err == nil && workCtx.Err() == nil {
				err = errors.New("ended before it was told to")
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", r.Units[i].Name, err)
			}
			work.put(err)
			ready()
			stopCalls() // one service that ends stops the process
		}()
	}
	go r.announce(callCtx, &waiting)

	servers := newResults(2)
	go func() { servers.put(r.server.Serve(callCtx, r.listeners...)); stopCalls() }()
	go func() { servers.put(r.http.serve(callCtx)); stopCalls() }()

	<-callCtx.Done()
	close(r.stopping)
	r.Log.LogAttrs(ctx, slog.LevelInfo, "stopping", slog.String("process", r.Name))
	callsErr := servers.wait(r.Stop)
	stopWork()
	workErr := work.wait(r.Stop)
	r.http.close()
	return errors.Join(workErr, callsErr)
}

// announce says SERVING once all services are ready, and follows the queue's server from then on.
func (r *run) announce(ctx context.Context, waiting *sync.WaitGroup) {
	waiting.Wait()
	if ctx.Err() != nil {
		return
	}
	serving := r.storeThere()
	r.setServing(serving)
	addresses := Addresses{GRPC: r.listeners[0].Addr(), HTTP: r.http.addr(), Pipe: r.pipe}
	attrs := []slog.Attr{slog.String("process", r.Name), slog.String("grpc", addresses.GRPC.String())}
	if addresses.HTTP != nil {
		attrs = append(attrs, slog.String("http", addresses.HTTP.String()))
	}
	r.Log.LogAttrs(ctx, slog.LevelInfo, "serving", attrs...)
	if r.OnReady != nil {
		r.OnReady(addresses)
	}
	r.followStore(ctx, serving)
}

// storeLook is how often the connection to the queue's server is looked at.
const storeLook = 250 * time.Millisecond

// followStore takes SERVING back while the queue's server is away, until ctx ends: then the process can do nothing that
// its callers want, and a balancer may know another that can.
func (r *run) followStore(ctx context.Context, serving bool) {
	tick := time.NewTicker(storeLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if there := r.storeThere(); there != serving {
			serving = there
			r.setServing(serving)
		}
	}
}

// storeThere reports whether the queue's server is connected, or no service needs it.
func (r *run) storeThere() bool {
	needed := slices.ContainsFunc(r.Units, Unit.usesNATS)
	return !needed || r.nats == nil || r.nats.IsConnected()
}

func (r *run) setServing(serving bool) {
	r.server.SetServing("", serving)
	for _, name := range r.server.Services() {
		r.server.SetServing(name, serving)
	}
}

// results collects how a known number of goroutines ended.
type results struct {
	ch chan error
	n  int
}

func newResults(n int) *results { return &results{ch: make(chan error, n), n: n} }

func (r *results) put(err error) { r.ch <- err }

// wait returns all results joined, with an error when they do not come within limit.
func (r *results) wait(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var failed []error
	for range r.n {
		select {
		case err := <-r.ch:
			failed = append(failed, err)
		case <-timer.C:
			return errors.Join(append(failed, fmt.Errorf("not stopped within %s", limit))...)
		}
	}
	return errors.Join(failed...)
}
