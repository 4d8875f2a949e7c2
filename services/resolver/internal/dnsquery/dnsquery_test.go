// SPDX-License-Identifier: Apache-2.0

package dnsquery

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestQuestionInWords(t *testing.T) {
	for q, want := range map[Question]string{
		{Name: "example.test", Type: TypeMX}: "MX example.test",
		{Type: TypeNS}:                       "NS .",
		{Name: "a.test", Type: 65280}:        "TYPE65280 a.test",
		{Name: "a.test", Type: TypeTLSA}:     "TLSA a.test",
	} {
		if got := q.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFailureInWords(t *testing.T) {
	f := Failure{Question: Question{Name: "a.test", Type: TypeMX}, Servers: []ServerFailure{
		{Server: netip.MustParseAddrPort("192.0.2.1:53"), Result: ResultTimeout},
		{Server: netip.MustParseAddrPort("192.0.2.2:53"), Result: ResultServFail, Remembered: true},
	}}
	if want := "MX a.test: no server answered (192.0.2.1:53 timeout, 192.0.2.2:53 servfail, remembered)"; f.Error() != want {
		t.Errorf("%q, want %q", f.Error(), want)
	}
	f.Servers = nil
	for kind, want := range map[Kind]string{
		Loop: "MX a.test: alias loop, or more than 10 aliases", Bogus: "MX a.test: DNSSEC validation failed",
		TCPBlocked: "MX a.test: truncated answer, TCP not possible",
	} {
		if f.Kind = kind; f.Error() != want {
			t.Errorf("%q, want %q", f.Error(), want)
		}
	}
}

func TestAnswerTexts(t *testing.T) {
	a := Answer{MX: make([]MX, 30)}
	a.MX[0] = MX{Preference: 10, Host: "mx.test"}
	if got := a.Texts(); len(got) != 20 || got[0] != "10 mx.test." {
		t.Errorf("%q", got)
	}
	a = Answer{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}}
	if got := a.Texts(); !slices.Equal(got, []string{"192.0.2.1", "2001:db8::1"}) {
		t.Errorf("%q", got)
	}
}

func TestLifeIsTheOldestAndTheShortest(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	var l Life
	if l.Holds(at(0)) {
		t.Error("a life of nothing holds")
	}
	l.Add(&Answer{Expires: at(100), TTL: 50 * time.Second})
	l.Add(&Answer{Expires: at(90), TTL: 20 * time.Second})
	l.Join(Life{})
	l.Add(&Answer{Expires: at(110), TTL: 80 * time.Second})
	if !l.Asked.Equal(at(30)) || !l.Expires.Equal(at(90)) {
		t.Errorf("%+v", l)
	}
	if !l.Holds(at(89)) || l.Holds(at(90)) {
		t.Error("when it holds")
	}
	l.Join(Life{Ended: true})
	if l.Holds(at(31)) {
		t.Error("holds although something failed")
	}
}
