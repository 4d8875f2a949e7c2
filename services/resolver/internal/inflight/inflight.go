// SPDX-License-Identifier: Apache-2.0

// Package inflight asks equal questions that are in flight at the same time only once.
//
// It owns nothing but the questions being asked now: what is answered is dnscache's, how it is asked dnsexchange's.
package inflight

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// Group is a Querier that joins equal questions.
type Group struct {
	next    dnsquery.Querier
	mu      sync.Mutex
	flights map[dnsquery.Question]*flight
}

type flight struct {
	done   chan struct{}
	answer *dnsquery.Answer
	err    error
}

// New returns a Group that asks next.
func New(next dnsquery.Querier) *Group {
	return &Group{next: next, flights: map[dnsquery.Question]*flight{}}
}

// Query waits for the answer to an equal question already asked, or asks. The question goes on when ctx ends, since
// others may wait for it and its answer is worth keeping; next bounds it in time.
func (g *Group) Query(ctx context.Context, q dnsquery.Question) (*dnsquery.Answer, error) {
	g.mu.Lock()
	f, joined := g.flights[q]
	if !joined {
		f = &flight{done: make(chan struct{})}
		g.flights[q] = f
		go g.ask(context.WithoutCancel(ctx), q, f)
	}
	g.mu.Unlock()
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask runs one flight. A fault of ours that a remote message brings out must not end the process.
func (g *Group) ask(ctx context.Context, q dnsquery.Question, f *flight) {
	defer func() {
		if fault := recover(); fault != nil {
			slog.ErrorContext(ctx, "panic while a DNS question was asked", "question", q.String(), "panic", fmt.Sprint(fault))
			f.answer, f.err = nil, &dnsquery.Failure{Question: q, Kind: dnsquery.Temporary}
		}
		g.mu.Lock()
		delete(g.flights, q)
		g.mu.Unlock()
		close(f.done)
	}()
	f.answer, f.err = g.next.Query(ctx, q)
}
