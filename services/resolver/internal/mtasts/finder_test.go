// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/testkit/dnstest"
)

// desk is a Finder over a real DNS server, with a clock and a policy host that are moved by the test.
type desk struct {
	*Finder
	dns *dnstest.Server

	mu      sync.Mutex
	now     time.Time
	policy  Policy
	err     error
	fetched int
	held    chan struct{} // a fetch waits for it when it is not nil
	shared  []*Entry
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *desk) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *desk) pass(t time.Duration) { d.change(func() { d.now = d.now.Add(t) }) }

func (d *desk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fetched
}

func (d *desk) fetch(ctx context.Context, _ string) (Policy, error) {
	d.mu.Lock()
	d.fetched++
	policy, err, held := d.policy, d.err, d.held
	d.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return Policy{}, ctx.Err()
		}
	}
	return policy, err
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{
		now: time.Unix(1_700_000_000, 0), dns: dnstest.Start(t, ""),
		policy: Policy{Mode: Enforce, MX: []string{"mx.test"}, MaxAge: 7 * 24 * time.Hour},
	}
	d.record(t, "v=STSv1; id=1;")
	d.Finder = New(Options{
		DNS: dnsOver(t, d.dns, d.clock), Fetch: d.fetch, Memory: NewMemory(100), Now: d.clock,
		Share: func(_ string, e *Entry) { d.change(func() { d.shared = append(d.shared, e) }) },
	})
	t.Cleanup(d.Close)
	return d
}

// record sets the TXT records of the domain; it lives a minute.
func (d *desk) record(t *testing.T, records ...string) {
	t.Helper()
	zone := ""
	for _, r := range records {
		zone += `_mta-sts.example.test 60 TXT "` + strings.ReplaceAll(r, ";", `\;`) + "\"\n"
	}
	d.dns.SetZone(dnstest.Parse(t, zone))
}

func (d *desk) find(t *testing.T) Finding {
	t.Helper()
	f, err := d.Find(t.Context(), "example.test", false, false)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (d *desk) want(t *testing.T, what, id string, fetched int, noted bool) Finding {
	t.Helper()
	f := d.find(t)
	got := ""
	if f.Entry != nil {
		got = f.Entry.ID
	}
	if got != id || d.count() != fetched || (f.Note != "") != noted {
		t.Fatalf("%s: policy %q after %d fetches, note %q; want %q after %d, noted %t", what, got, d.count(), f.Note, id, fetched, noted)
	}
	return f
}

func TestR45_NewPolicyOnlyByAGoodRecord(t *testing.T) {
	d := newDesk(t)
	d.record(t)
	d.want(t, "no record", "", 0, false)
	for _, records := range [][]string{{"v=STSv1; id=1;", "v=STSv1; id=2;"}, {"v=STSv1;"}, {"hello"}} {
		d.pass(time.Hour)
		d.record(t, records...)
		d.want(t, strings.Join(records, " "), "", 0, false)
	}
	d.pass(time.Hour)
	d.record(t, "v=STSv1; id=1;")
	d.want(t, "good record", "1", 1, false)
	// The policy stays in force whatever becomes of the record.
	for _, records := range [][]string{nil, {"v=STSv1; id=1;", "v=STSv1; id=2;"}, {"v=STSv1;"}} {
		d.pass(time.Hour)
		d.record(t, records...)
		d.want(t, "record gone or bad", "1", 1, false)
	}
	d.pass(7 * 24 * time.Hour)
	d.want(t, "max_age over", "", 1, false)
}

func TestR45_RecordCannotBeLookedUp(t *testing.T) {
	d := newDesk(t)
	d.dns.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
	if f := d.want(t, "no policy known", "", 0, true); !f.Life.Ended {
		t.Error("may be cached")
	}
	d.dns.ClearBehaviour()
	d.want(t, "record there", "1", 1, false)
	d.pass(time.Hour)
	d.dns.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
	d.want(t, "policy in force", "1", 1, true)
}

func TestPolicyChange(t *testing.T) {
	d := newDesk(t)
	d.want(t, "first", "1", 1, false)
	d.want(t, "same id", "1", 1, false)
	d.pass(time.Hour)
	d.record(t, "v=STSv1; id=2;")
	d.change(func() { d.policy.MX = []string{"other.test"} })
	if f := d.want(t, "another id", "2", 2, false); !f.Entry.Policy.Allows("other.test") {
		t.Error("the old policy")
	}
	if len(d.shared) != 2 {
		t.Errorf("shared %d times, want twice", len(d.shared))
	}
}

func TestR47_FetchFails(t *testing.T) {
	d := newDesk(t)
	d.change(func() { d.err = &FetchError{Problem: "the policy host redirects, which is forbidden"} })
	f := d.want(t, "no cached policy", "", 1, true)
	if !strings.Contains(f.Note, "redirects") || f.Life.Expires.Sub(d.clock()) > 5*time.Minute {
		t.Errorf("note %q, for %s", f.Note, f.Life.Expires.Sub(d.clock()))
	}
	d.want(t, "at once", "", 1, true)
	d.pass(5*time.Minute - time.Second)
	d.want(t, "before 5 min", "", 1, true)
	d.pass(time.Second)
	d.want(t, "after 5 min", "", 2, true)
	d.record(t, "v=STSv1; id=2;")
	d.pass(time.Minute)
	d.want(t, "another id", "", 3, true)
	d.change(func() { d.err = nil })
	d.pass(5 * time.Minute)
	d.want(t, "host is back", "2", 4, false)

	// With a policy in force a failure changes nothing.
	d.change(func() { d.err = &FetchError{Problem: "the policy host cannot be reached"} })
	d.record(t, "v=STSv1; id=3;")
	d.pass(time.Hour)
	d.want(t, "cached policy", "2", 5, true)
	d.want(t, "cached policy, at once", "2", 5, true)
}

// A policy in use is renewed beside before it runs out.
func TestRenewalBeforeTheEnd(t *testing.T) {
	d := newDesk(t)
	d.want(t, "first", "1", 1, false)
	d.pass(24*time.Hour - time.Second)
	d.want(t, "younger than a day", "1", 1, false)
	d.pass(time.Second)
	d.find(t)
	d.running.Wait()
	f := d.want(t, "renewed", "1", 2, false)
	if age := d.clock().Sub(f.Entry.Fetched); age != 0 {
		t.Errorf("fetched %s ago", age)
	}
	d.change(func() { d.err = &FetchError{Problem: "the policy host cannot be reached"} })
	d.pass(25 * time.Hour)
	for range 3 {
		d.find(t)
		d.running.Wait()
	}
	d.want(t, "renewal fails", "1", 3, false)
	d.pass(6 * 24 * time.Hour)
	d.want(t, "run out", "", 4, true)
}

// again asks DNS and the host once more, but not a host asked a moment ago.
func TestR48_AskedOnceMore(t *testing.T) {
	d := newDesk(t)
	again := func() Finding {
		t.Helper()
		f, err := d.Find(t.Context(), "example.test", false, true)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	d.want(t, "first", "1", 1, false)
	if again(); d.count() != 1 || d.dns.Count("_mta-sts.example.test", dns.TypeTXT) != 2 {
		t.Errorf("%d fetches, want DNS asked and the host not", d.count())
	}
	d.pass(5 * time.Minute)
	if again(); d.count() != 2 {
		t.Errorf("%d fetches, want one more after 5 min", d.count())
	}
	d.change(func() { d.policy.MX = []string{"new.test"} })
	d.record(t, "v=STSv1; id=2;")
	if f := again(); f.Entry.ID != "2" || !f.Entry.Policy.Allows("new.test") {
		t.Errorf("%+v, want the changed policy at once", f.Entry)
	}
}

func TestFetchIsShared(t *testing.T) {
	d := newDesk(t)
	d.change(func() { d.held = make(chan struct{}) })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if f, err := d.Find(t.Context(), "example.test", false, false); err != nil || f.Entry == nil {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
	// One more gives up while it waits; the fetch goes on for the others.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := d.Find(ctx, "example.test", false, false)
		gone <- err
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(d.held)
	wg.Wait()
	if d.count() != 1 {
		t.Errorf("%d fetches", d.count())
	}
}

func TestCloseEndsFetches(t *testing.T) {
	d := newDesk(t)
	d.change(func() { d.held = make(chan struct{}) })
	done := make(chan Finding, 1)
	go func() { done <- d.find(t) }()
	for d.count() == 0 {
		if _, err := d.dns.WaitQueries(t.Context(), dnstest.Match{}, 1); err != nil {
			t.Fatal(err)
		}
	}
	d.Close()
	if f := <-done; f.Entry != nil || f.Note == "" {
		t.Errorf("%+v", f)
	}
	d.pass(time.Hour)
	if f := d.find(t); f.Entry != nil {
		t.Errorf("fetched after Close: %+v", f)
	}
}

func TestPanicInAFetch(t *testing.T) {
	d := newDesk(t)
	d.o.Fetch = func(context.Context, string) (Policy, error) { panic("index out of range") }
	if f := d.find(t); f.Entry != nil || f.Note == "" {
		t.Errorf("%+v", f)
	}
}
