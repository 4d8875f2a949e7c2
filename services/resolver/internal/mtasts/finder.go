// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/boundedmap"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
)

// retryAfter is how long a fetch that failed is not repeated (RFC 8461, section 5.1; R-47).
const retryAfter = 5 * time.Minute

// Options describe a Finder.
type Options struct {
	// DNS answers the TXT question.
	DNS dnsquery.Querier
	// Fetch gets a policy; see Fetcher.
	Fetch func(ctx context.Context, domain string) (Policy, error)
	// Memory holds the policies.
	Memory *Memory
	// Share is told a policy that was fetched, for other replicas; nil is allowed. It must not block.
	Share func(domain string, e *Entry)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Finder finds policies. It is safe for concurrent use.
type Finder struct {
	o      Options
	failed *boundedmap.Map[string, failedFetch]

	life context.Context //nolint:containedctx // ends with Close, for fetches that outlive the question they began with
	end  context.CancelFunc

	mu      sync.Mutex
	flights map[string]*flight
	running sync.WaitGroup
}

// flight is a fetch under way, for all who want it.
type flight struct {
	done  chan struct{}
	entry *Entry
	err   error
}

type failedFetch struct {
	id      string
	again   time.Time
	problem string
}

// maxFailed bounds the memory of failed fetches.
const maxFailed = 10_000

// New returns a Finder. Close ends its fetches.
func New(o Options) *Finder {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Share == nil {
		o.Share = func(string, *Entry) {}
	}
	f := &Finder{o: o, failed: boundedmap.New[string, failedFetch](maxFailed), flights: map[string]*flight{}}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// Close ends all fetches and waits for them.
func (f *Finder) Close() {
	f.mu.Lock() // so that none begins behind Wait
	f.end()
	f.mu.Unlock()
	f.running.Wait()
}

// Finding is what was found for a domain.
type Finding struct {
	// Entry is the policy in force; nil when there is none.
	Entry *Entry
	// Note says why a policy that may exist could not be had or renewed; empty when nothing failed.
	Note string
	// Life is how long this may be used.
	Life dnsquery.Life
}

// Find returns the policy of a recipient domain as written. again asks DNS and, if the policy is not
// brand new, its host once more, before a mismatch is believed (RFC 8461, section 5.1; R-48). The error is that of ctx.
func (f *Finder) Find(ctx context.Context, domain string, fresh, again bool) (Finding, error) {
	q := dnsquery.Question{Name: "_mta-sts." + domain, Type: dnsquery.TypeTXT, Fresh: fresh || again}
	txt, err := mxlookup.Follow(ctx, f.o.DNS, q)
	now := f.o.Now()
	entry := f.o.Memory.Get(domain, now)
	if err != nil {
		if _, dns := errors.AsType[*dnsquery.Failure](err); !dns {
			return Finding{}, err
		}
		return Finding{
			Entry: entry, Note: "The MTA-STS record could not be looked up.", Life: dnsquery.Life{Ended: true},
		}, nil
	}
	out := Finding{Entry: entry, Life: txt.Life}
	id, ok := RecordID(txt.TXT())
	switch {
	case !ok:
	case entry == nil, entry.ID != id, again && now.Sub(entry.Fetched) >= retryAfter:
		if err := f.renew(ctx, domain, id, &out); err != nil {
			return Finding{}, err
		}
	case now.Sub(entry.Fetched) >= entry.refreshAfter():
		f.refresh(domain, id)
	}
	if out.Entry != nil {
		out.Life.Join(dnsquery.Life{Asked: now, Expires: out.Entry.Expires()})
	}
	return out, nil
}

// renew fetches the policy and waits for it. A fetch that fails leaves the policy in force as it is.
func (f *Finder) renew(ctx context.Context, domain, id string, out *Finding) error {
	if problem, again, failed := f.failedLately(domain, id); failed {
		out.fail(problem, again, f.o.Now())
		return nil
	}
	fetching := f.fetch(domain, id)
	select {
	case <-fetching.done:
		if fetching.err != nil {
			problem, again, _ := f.failedLately(domain, id)
			out.fail(problem, again, f.o.Now())
			return nil
		}
		out.Entry = fetching.entry
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *Finding) fail(problem string, again, now time.Time) {
	o.Note = fmt.Sprintf("The MTA-STS policy could not be fetched: %s.", problem)
	o.Life.Join(dnsquery.Life{Asked: now, Expires: again})
}

// refresh fetches the policy beside, unless that failed a moment ago.
func (f *Finder) refresh(domain, id string) {
	if _, _, failed := f.failedLately(domain, id); !failed {
		f.fetch(domain, id)
	}
}

func (f *Finder) failedLately(domain, id string) (problem string, again time.Time, failed bool) {
	last, ok := f.failed.Get(domain)
	if !ok || last.id != id || !f.o.Now().Before(last.again) {
		return "it failed", f.o.Now(), false
	}
	return last.problem, last.again, true
}

// fetch begins to get a policy, or joins those who wait for it already.
func (f *Finder) fetch(domain, id string) *flight {
	key := domain + " " + id
	f.mu.Lock()
	defer f.mu.Unlock()
	if under := f.flights[key]; under != nil {
		return under
	}
	one := &flight{done: make(chan struct{})}
	if f.life.Err() != nil {
		one.err = f.life.Err()
		close(one.done)
		return one
	}
	f.flights[key] = one
	f.running.Go(func() {
		one.entry, one.err = f.get(domain, id)
		f.mu.Lock()
		delete(f.flights, key)
		f.mu.Unlock()
		close(one.done)
	})
	return one
}

// get fetches, remembers and shares a policy. A fault of ours that a file brings out must not end the process.
func (f *Finder) get(domain, id string) (e *Entry, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = &FetchError{Problem: "the policy file cannot be read", Err: fmt.Errorf("panic: %v", fault)}
		}
		if err == nil {
			f.failed.Delete(domain)
			return
		}
		problem := "the service is stopping"
		if fault, ok := errors.AsType[*FetchError](err); ok {
			problem = fault.Problem
		}
		f.failed.Put(domain, failedFetch{id: id, again: f.o.Now().Add(retryAfter), problem: problem})
	}()
	p, err := f.o.Fetch(f.life, domain)
	if err != nil {
		return nil, err
	}
	e = &Entry{ID: id, Policy: p, Fetched: f.o.Now()}
	if f.o.Memory.Put(domain, e) {
		f.o.Share(domain, e)
	}
	return e, nil
}
