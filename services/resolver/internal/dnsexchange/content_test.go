// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/testkit/dnstest"
)

func TestR37_SurplusRecordsAreNotUsed(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.Surplus(`
		other.test        MX 0 evil.test
		sub.example.test  MX 0 evil.test
		mx1.example.test  A  192.0.2.66
	`), dnstest.Additional(`
		example.test      MX 0 evil.test
		mx1.example.test  A  192.0.2.66
	`))
	wantBoth(t, mustAnswer(t, newBench(t, setting{}, srv), mxQuestion))
}

// An answer that holds only strange records is an answer without records and without SOA, not one with them.
func TestR37_OnlyStrangeRecords(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{Name: "nothing.test"}, func(x *dnstest.Exchange) {
		x.Reply.Rcode = dns.RcodeSuccess
		x.Reply.Ns = nil
	}, dnstest.Surplus(`other.test MX 0 evil.test`))
	b := newBench(t, setting{}, srv)
	f := mustFail(t, b, noName, dnsquery.Temporary)
	if f.Servers[0].Result != dnsquery.ResultLame {
		t.Errorf("%v, want lame", f)
	}
}

func TestR53_LameServer(t *testing.T) {
	lame := map[string]dnstest.Behaviour{
		"neither authoritative nor recursive": dnstest.Lame,
		"not recursive, with an answer":       func(x *dnstest.Exchange) { x.Reply.RecursionAvailable = false },
		"not recursive, no such name": func(x *dnstest.Exchange) {
			x.Reply.RecursionAvailable = false
			dnstest.RCode(dns.RcodeNameError)(x)
		},
		"only a referral": func(x *dnstest.Exchange) {
			dnstest.Lame(x)
			x.Reply.RecursionAvailable = true
		},
		"empty without SOA": func(x *dnstest.Exchange) { x.Reply.Answer, x.Reply.Ns = nil, nil },
	}
	for name, behave := range lame {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
			one.SetBehaviour(dnstest.Match{}, behave)
			two.SetBehaviour(dnstest.Match{}, behave)
			b := newBench(t, setting{}, one, two)
			f := mustFail(t, b, mxQuestion, dnsquery.Temporary)
			if len(f.Servers) != 2 || f.Servers[0].Result != dnsquery.ResultLame {
				t.Errorf("%v, want both lame", f)
			}
			two.ClearBehaviour()
			wantBoth(t, mustAnswer(t, b, mxQuestion))
		})
	}
}

// The same empty answer from a server that has answered something else is NODATA that must not be kept.
func TestR53_EmptyAnswerOfAProvenServer(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{Name: "example.test", Type: dns.TypeMX}, func(x *dnstest.Exchange) { x.Reply.Answer, x.Reply.Ns = nil, nil })
	b := newBench(t, setting{}, srv)
	mustFail(t, b, mxQuestion, dnsquery.Temporary)
	mustAnswer(t, b, dnsquery.Question{Name: "mx1.example.test", Type: dnsquery.TypeA})
	if a := mustAnswer(t, b, mxQuestion); !a.Empty() || a.NoName || a.TTL != 0 {
		t.Errorf("%+v, want NODATA with TTL 0", a)
	}
}

func TestR13_LoopInOneMessage(t *testing.T) {
	srv := dnstest.Start(t, `
		a.test     CNAME  b.test
		b.test     CNAME  a.test
		self.test  CNAME  self.test
	`)
	b := newBench(t, setting{ttl: time.Minute}, srv)
	for _, name := range []string{"a.test", "self.test"} {
		mustFail(t, b, dnsquery.Question{Name: name, Type: dnsquery.TypeMX}, dnsquery.Loop)
	}
}
