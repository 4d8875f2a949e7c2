// SPDX-License-Identifier: Apache-2.0

package servercheck

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/testkit/dnstest"
)

const zone = "example.test MX 10 mx.test\nlocalhost A 127.0.0.1\n"

// patient waits long for what comes, brisk not for what does not.
func patient(name string) Checker {
	return Checker{Name: name, First: 10 * time.Second, Second: 10 * time.Second, TCP: 20 * time.Second, Connect: 10 * time.Second}
}

func brisk(name string) Checker {
	return Checker{Name: name, First: 300 * time.Millisecond, Second: 300 * time.Millisecond, TCP: 800 * time.Millisecond, Connect: 800 * time.Millisecond}
}

// cells are the probes on one line, in the words of the check and of a lookup.
func cells(probes []Probe) string {
	var all []string
	for _, p := range probes {
		all = append(all, fmt.Sprintf("%s/%s %s %s", p.Transport, p.Name, p.Result, p.Seen))
	}
	return strings.Join(all, ", ")
}

func TestR38_WordsOfEachCell(t *testing.T) {
	everything, udp, tcp := dnstest.Match{}, dnstest.Match{Transport: dnstest.UDP}, dnstest.Match{Transport: dnstest.TCP}
	set := func(m dnstest.Match, b dnstest.Behaviour) func(*dnstest.Server) error {
		return func(s *dnstest.Server) error { s.SetBehaviour(m, b); return nil }
	}
	// one is a line on which all four cells say the same.
	one := func(words string) string {
		return "udp/plain " + words + ", tcp/plain " + words + ", udp/edns " + words + ", udp/truncation " + words
	}
	for name, c := range map[string]struct {
		spoil   func(*dnstest.Server) error
		checker Checker
		want    string
	}{
		"honest":          {set(everything, func(*dnstest.Exchange) {}), patient("example.test"), "udp/plain ok answered, tcp/plain ok answered, udp/edns ok answered, tcp/truncation ok answered"},
		"truncating":      {set(udp, dnstest.Truncate), patient("example.test"), "udp/plain ok truncated, tcp/plain ok answered, udp/edns ok truncated, tcp/truncation ok answered"},
		"TCP truncates":   {set(tcp, dnstest.Truncate), patient("example.test"), "udp/plain ok answered, tcp/plain malformed truncated, udp/edns ok answered, tcp/truncation malformed truncated"},
		"TCP refused":     {func(s *dnstest.Server) error { return s.Refuse(dnstest.TCP) }, patient("example.test"), "udp/plain ok answered, tcp/plain refused refused, udp/edns ok answered, tcp/truncation refused refused"},
		"UDP refused":     {func(s *dnstest.Server) error { return s.Refuse(dnstest.UDP) }, patient("example.test"), "udp/plain refused refused, tcp/plain ok answered, udp/edns refused refused, udp/truncation refused refused"},
		"TCP reset":       {set(tcp, dnstest.Reset), patient("example.test"), "udp/plain ok answered, tcp/plain reset reset, udp/edns ok answered, tcp/truncation reset reset"},
		"silent":          {set(everything, dnstest.Hang), brisk("example.test"), one("timeout timeout")},
		"half a message":  {set(everything, dnstest.Malformed), patient("example.test"), one("malformed malformed")},
		"only wrong ids":  {set(everything, dnstest.WrongID), brisk("example.test"), one("malformed malformed")},
		"REFUSED":         {set(everything, dnstest.RCode(dns.RcodeRefused)), patient("example.test"), one("denied denied")},
		"SERVFAIL":        {set(everything, dnstest.RCode(dns.RcodeServerFailure)), patient("example.test"), one("denied servfail")},
		"lame":            {set(everything, dnstest.Lame), patient("example.test"), one("denied lame")},
		"no such name":    {set(everything, dnstest.RCode(dns.RcodeNameError)), patient("example.test"), "udp/plain ok answered, tcp/plain ok answered, udp/edns ok answered, tcp/truncation ok answered"},
		"FORMERR to EDNS": {set(everything, dnstest.NoEDNS(dns.RcodeFormatError)), patient("example.test"), "udp/plain ok answered, tcp/plain ok answered, udp/edns malformed no_edns, udp/truncation malformed no_edns"},
		"FORMERR always":  {set(everything, dnstest.RCode(dns.RcodeFormatError)), patient("example.test"), "udp/plain denied no_edns, tcp/plain denied no_edns, udp/edns malformed no_edns, udp/truncation malformed no_edns"},
		"silent to EDNS":  {set(everything, dnstest.DropEDNS), brisk("example.test"), "udp/plain ok answered, tcp/plain ok answered, udp/edns timeout timeout, udp/truncation timeout timeout"},
		"REFUSED root":    {set(dnstest.Match{Name: "."}, dnstest.RCode(dns.RcodeRefused)), patient(""), one("denied denied")},
		"silent on root":  {set(dnstest.Match{Name: "."}, dnstest.Hang), brisk(""), "udp/plain ok answered, tcp/plain ok answered, udp/edns ok answered, tcp/truncation ok answered"},
		"reset on root":   {set(dnstest.Match{Name: ".", Transport: dnstest.TCP}, dnstest.Reset), patient(""), "udp/plain ok answered, tcp/plain ok answered, udp/edns ok answered, tcp/truncation ok answered"},
		"datagrams lost":  {set(udp, dnstest.First(3, dnstest.Drop)), Checker{Name: "example.test", First: 300 * time.Millisecond, Second: 10 * time.Second, TCP: 20 * time.Second, Connect: 10 * time.Second}, "udp/plain ok answered, tcp/plain ok answered, udp/edns ok answered, tcp/truncation ok answered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := dnstest.Start(t, zone)
			if err := c.spoil(srv); err != nil {
				t.Fatal(err)
			}
			probes := c.checker.Check(t.Context(), srv.Addr())
			if got := cells(probes); got != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			for _, p := range probes {
				if p.Took <= 0 || p.Result != OK && p.Detail == "" {
					t.Errorf("%+v: want a time, and a sentence for what is not ok", p)
				}
				if alive := p.Result == OK || p.Result == Denied; p.Alive() != alive {
					t.Errorf("%s: alive %t", p.Result, p.Alive())
				}
			}
		})
	}
}

func TestR38_TheSentenceNamesTheResponseCode(t *testing.T) {
	srv := dnstest.Start(t, zone)
	for code, name := range map[int]string{dns.RcodeRefused: "REFUSED", dns.RcodeServerFailure: "SERVFAIL", dns.RcodeNotImplemented: "NOTIMP", 3000: "RCODE3000"} {
		srv.SetBehaviour(dnstest.Match{}, func(x *dnstest.Exchange) {
			dnstest.RCode(code)(x)
			if opt := x.Reply.IsEdns0(); opt == nil && code > 15 {
				x.Reply.SetEdns0(1232, false) // the upper bits of the code stand there
			}
		})
		for _, p := range patient("example.test").Check(t.Context(), srv.Addr()) {
			if !strings.Contains(p.Detail, name) {
				t.Errorf("%s over %s: %q, want %s in it", p.Name, p.Transport, p.Detail, name)
			}
		}
	}
}

// What is asked, and how: MX of the name, or the root's name servers, and its keys in a small datagram.
func TestR38_WhatIsAsked(t *testing.T) {
	for name, c := range map[string]struct{ qname, small, large string }{
		"example.test": {"example.test.", "MX", "MX"}, "": {".", "NS", "DNSKEY"},
	} {
		srv := dnstest.Start(t, zone)
		patient(name).Check(t.Context(), srv.Addr())
		var udp, edns, small int
		for _, q := range srv.Queries(dnstest.Match{}) {
			typ := dns.TypeToString[q.Type]
			if dns.Fqdn(q.Name) != c.qname || typ != c.small && typ != c.large || !q.RD {
				t.Errorf("asked %+v", q)
			}
			switch {
			case q.Transport == dnstest.UDP && q.EDNS && q.UDPSize == 512 && typ == c.large:
				small++
			case q.Transport == dnstest.UDP && q.EDNS && q.UDPSize == 1232 && typ == c.small:
				edns++
			case q.Transport == dnstest.UDP && !q.EDNS:
				udp++
			}
		}
		if n := len(srv.Queries(dnstest.Match{Transport: dnstest.TCP})); udp != 1 || edns != 1 || small != 1 || n != 2 {
			t.Errorf("name %q: %d plain, %d with EDNS0, %d small over UDP, %d over TCP", name, udp, edns, small, n)
		}
	}
}

// An answer about localhost shows that a server cut off from the root works, and it says so. One that denies even that
// is no better for it.
func TestR38_CutOffFromTheRoot(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{Name: "."}, dnstest.Hang)
	for _, p := range brisk("").Check(t.Context(), srv.Addr()) {
		if p.Name == Plain && (p.Result != OK || !strings.Contains(p.Detail, "localhost")) {
			t.Errorf("%+v", p)
		}
	}
	srv.SetBehaviour(dnstest.Match{Name: "localhost"}, dnstest.RCode(dns.RcodeRefused))
	for _, p := range brisk("").Check(t.Context(), srv.Addr()) {
		if p.Result != Timeout || p.Seen != dnsquery.ResultTimeout {
			t.Errorf("%+v", p)
		}
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []Probe, 1)
	go func() { done <- patient("").Check(ctx, srv.Addr()) }()
	if _, err := srv.WaitQueries(t.Context(), dnstest.Match{}, 4); err != nil {
		t.Fatal(err)
	}
	cancel()
	for _, p := range <-done {
		if p.Result != Timeout || p.Seen != dnsquery.ResultCancelled || p.Transport != dnstransport.UDP && p.Transport != dnstransport.TCP {
			t.Errorf("%+v", p)
		}
	}
	if n := len(srv.Queries(dnstest.Match{})); n != 4 {
		t.Errorf("%d queries, want none after the end", n)
	}
}
