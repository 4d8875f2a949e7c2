// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"net/netip"
	"sync"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// maxFailures bounds the memory of failures; the rest is forgotten when it is full.
const maxFailures = 20_000

// failures remembers which server failed which question, for a few seconds (RFC 2308, section 7; RFC 9520, section 3.2;
//
type failures struct {
	ttl time.Duration
	now func() time.Time

	mu   sync.Mutex
	list map[failureKey]failed
}

type failureKey struct {
	server netip.AddrPort
	name   string
	typ    dnsquery.Type
}

type failed struct {
	until  time.Time
	result dnsquery.Result
}

func newFailures(ttl time.Duration, now func() time.Time) *failures {
	return &failures{ttl: ttl, now: now, list: map[failureKey]failed{}}
}

// add remembers a failure.
func (f *failures) add(addr netip.AddrPort, q dnsquery.Question, result dnsquery.Result) {
	if f.ttl <= 0 {
		return
	}
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) >= maxFailures {
		f.sweep(now)
	}
	f.list[failureKey{addr, q.Name, q.Type}] = failed{until: now.Add(f.ttl), result: result}
}

// sweep drops what has expired, and everything when nothing has.
func (f *failures) sweep(now time.Time) {
	for k, v := range f.list {
		if !now.Before(v.until) {
			delete(f.list, k)
		}
	}
	if len(f.list) >= maxFailures {
		clear(f.list)
	}
}

// get returns the result a server failed a question with a moment ago.
func (f *failures) get(addr netip.AddrPort, q dnsquery.Question) (dnsquery.Result, bool) {
	if q.Fresh || f.ttl <= 0 {
		return "", false
	}
	k := failureKey{addr, q.Name, q.Type}
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.list[k]
	if !ok {
		return "", false
	}
	if !f.now().Before(v.until) {
		delete(f.list, k)
		return "", false
	}
	return v.result, true
}

// forget drops the failures of a name, or all for "".
func (f *failures) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.list {
		if name == "" || k.name == name {
			delete(f.list, k)
		}
	}
}
