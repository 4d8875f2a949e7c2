// SPDX-License-Identifier: Apache-2.0

package serverhealth

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
)

var (
	one = netip.MustParseAddrPort("127.0.0.1:53")
	two = netip.MustParseAddrPort("127.0.0.2:53")
)

type fixture struct {
	*Health
	now     time.Time
	changes []Change
}

func newFixture() *fixture {
	f := &fixture{now: time.Unix(1000, 0)}
	f.Health = New([]netip.AddrPort{one, two}, func() time.Time { return f.now }, func(c Change) { f.changes = append(f.changes, c) })
	return f
}

func (f *fixture) times(n int, addr netip.AddrPort, o Observation) {
	for range n {
		f.Observe(addr, o)
		f.now = f.now.Add(time.Second)
	}
}

func dead() Observation {
	return Observation{
		Server: Failed, Result: dnsquery.ResultTimeout,
		UDP: Failed, UDPResult: dnsquery.ResultTimeout, TCP: Failed, TCPResult: dnsquery.ResultTimeout,
	}
}

func fine() Observation { return Observation{Server: Worked, UDP: Worked, TCP: Worked} }

func TestR35_ThreeFailuresRunning(t *testing.T) {
	f := newFixture()
	f.times(2, one, dead())
	f.times(1, one, fine())
	f.times(2, one, dead())
	if !slices.Equal(f.Order(), []netip.AddrPort{one, two}) || f.Trouble() || len(f.changes) != 0 {
		t.Fatal("skipped before three failures running")
	}
	f.times(1, one, dead())
	if !slices.Equal(f.Order(), []netip.AddrPort{two}) || !f.Trouble() {
		t.Fatalf("order %v after three failures", f.Order())
	}
	if f.times(1, one, fine()); !slices.Equal(f.Order(), []netip.AddrPort{one, two}) || f.Trouble() {
		t.Error("a success does not end the skipping")
	}
}

func TestR35_OneProbeInThirtySeconds(t *testing.T) {
	f := newFixture()
	f.times(3, one, dead())
	f.now = f.now.Add(30*time.Second - 2*time.Second)
	if due := f.Due(); len(due) != 0 {
		t.Fatalf("due %v before 30 s", due)
	}
	f.now = f.now.Add(time.Second)
	if due := f.Due(); !slices.Equal(due, []Probe{{Server: one}}) {
		t.Fatalf("due %v after 30 s", due)
	}
	if due := f.Due(); len(due) != 0 {
		t.Errorf("due %v again at once", due)
	}
	if !slices.Equal(f.Order(), []netip.AddrPort{two}) {
		t.Error("used while its probe is under way")
	}
	f.times(1, one, dead())
	f.now = f.now.Add(30 * time.Second)
	if due := f.Due(); len(due) != 1 {
		t.Error("no further probe after one that failed")
	}
}

func TestR35_AllSkipped(t *testing.T) {
	f := newFixture()
	f.times(3, two, dead())
	f.times(3, one, dead())
	if !slices.Equal(f.Order(), []netip.AddrPort{one, two}) {
		t.Errorf("order %v, want the configured one", f.Order())
	}
}

func TestTransportOrder(t *testing.T) {
	f := newFixture()
	noTCP := Observation{Server: Worked, UDP: Worked, TCP: Failed, TCPResult: dnsquery.ResultRefused}
	f.times(3, one, noTCP)
	if f.First(one, dnstransport.TCP) != dnstransport.UDP || f.First(one, dnstransport.UDP) != dnstransport.UDP || f.First(two, dnstransport.TCP) != dnstransport.TCP {
		t.Error("want UDP first at the server without TCP only")
	}
	if !slices.Equal(f.Order(), []netip.AddrPort{one, two}) {
		t.Error("a server with one transport left is skipped")
	}
	f.now = f.now.Add(30 * time.Second)
	if due := f.Due(); !slices.Equal(due, []Probe{{one, dnstransport.TCP}}) {
		t.Errorf("due %v", due)
	}
	f.times(3, one, Observation{UDP: Failed, UDPResult: dnsquery.ResultTimeout})
	if f.First(one, dnstransport.TCP) != dnstransport.TCP {
		t.Error("both skipped: want the preferred one")
	}
}

func TestOneChangeForEachTurn(t *testing.T) {
	f := newFixture()
	began := f.now
	f.times(10, one, dead())
	silent, noTCP := Standing{began, dnsquery.ResultTimeout}, Status{Server: one, TCP: Standing{began, dnsquery.ResultRefused}}
	status := Status{one, silent, silent, silent}
	if len(f.changes) != 1 || f.changes[0] != (Change{Server: one, Failing: true, Why: dnsquery.ResultTimeout, Since: began, Now: status}) {
		t.Fatalf("changes %+v, want one for the whole server", f.changes)
	}
	if !slices.Equal(f.Status(), []Status{status, {Server: two}}) {
		t.Errorf("status %+v", f.Status())
	}
	// It comes back with one transport only.
	f.times(5, one, Observation{Server: Worked, UDP: Worked, TCP: Failed, TCPResult: dnsquery.ResultRefused})
	want := []Change{
		{Server: one, Why: dnsquery.ResultTimeout, Since: began, Now: noTCP},
		{Server: one, Transport: dnstransport.TCP, Failing: true, Why: dnsquery.ResultRefused, Since: began, Now: noTCP},
	}
	if !slices.Equal(f.changes[1:], want) {
		t.Fatalf("changes %+v, want %+v", f.changes[1:], want)
	}
	f.times(5, one, fine())
	if len(f.changes) != 4 || f.changes[3] != (Change{Server: one, Transport: dnstransport.TCP, Why: dnsquery.ResultRefused, Since: began, Now: Status{Server: one}}) {
		t.Errorf("changes %+v", f.changes)
	}
}

func TestUnknownChangesNothing(t *testing.T) {
	f := newFixture()
	f.times(2, one, dead())
	f.times(5, one, Observation{})
	f.times(1, one, dead())
	if !f.Trouble() {
		t.Error("an observation that tells nothing broke the row")
	}
	f.Observe(netip.MustParseAddrPort("192.0.2.1:53"), dead()) // not ours
}
