// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/testkit/dnstest"
)

func overUDP() dnstest.Match { return dnstest.Match{Transport: dnstest.UDP} }
func overTCP() dnstest.Match { return dnstest.Match{Transport: dnstest.TCP} }

func TestR30_TruncatedIsAskedOverTCPOnTheSameServer(t *testing.T) {
	for name, behave := range map[string]dnstest.Behaviour{
		"empty": dnstest.Truncate,
		"part":  dnstest.TruncatePartly,
		"broken behind the header": func(x *dnstest.Exchange) {
			x.Reply.Truncated = true
			wire, err := x.Reply.Pack()
			if err != nil {
				panic(err)
			}
			x.SendRaw(wire[:len(wire)-3])
			x.Drop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
			one.SetBehaviour(overUDP(), behave)
			b := newBench(t, setting{}, one, two)
			wantBoth(t, mustAnswer(t, b, mxQuestion))
			if len(one.Queries(overUDP())) != 1 || len(one.Queries(overTCP())) != 1 || len(two.Queries(dnstest.Match{})) != 0 {
				t.Error("want one query over UDP and one over TCP at the first server, none at the second")
			}
		})
	}
}

func TestR30_TrulyLargeAnswer(t *testing.T) {
	var large strings.Builder
	for i := range 200 {
		fmt.Fprintf(&large, "large.test MX %d mail-%03d.some-long-provider-name.test\n", i, i)
	}
	srv := dnstest.Start(t, large.String())
	a := mustAnswer(t, newBench(t, setting{}, srv), dnsquery.Question{Name: "large.test", Type: dnsquery.TypeMX})
	if len(a.MX) != 200 || len(srv.Queries(overTCP())) != 1 {
		t.Errorf("%d MX over %d TCP queries, want 200 over 1", len(a.MX), len(srv.Queries(overTCP())))
	}
}

func TestR31_TruncatedAndTCPBlocked(t *testing.T) {
	block := map[string]func(*dnstest.Server) error{
		"refused": func(s *dnstest.Server) error { return s.Refuse(dnstest.TCP) },
		"reset":   func(s *dnstest.Server) error { s.SetBehaviour(overTCP(), dnstest.Reset); return nil },
		"closed":  func(s *dnstest.Server) error { s.SetBehaviour(overTCP(), dnstest.CloseConn); return nil },
		"hanging": func(s *dnstest.Server) error { s.SetBehaviour(overTCP(), dnstest.Hang); return nil },
	}
	for name, how := range block {
		for _, prefer := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
			t.Run(name+", preference "+string(prefer), func(t *testing.T) {
				t.Parallel()
				one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
				for _, srv := range []*dnstest.Server{one, two} {
					srv.SetBehaviour(overUDP(), dnstest.TruncatePartly)
					if err := how(srv); err != nil {
						t.Fatal(err)
					}
				}
				b := newBench(t, setting{prefer: prefer, timeouts: brisk()}, one, two)
				f := mustFail(t, b, mxQuestion, dnsquery.TCPBlocked)
				if len(f.Servers) != 2 || f.Servers[0].Result != dnsquery.ResultTCPBlocked {
					t.Errorf("failure %v, want dns_tcp_blocked of both", f)
				}
				two.ClearBehaviour()
				if err := two.Accept(dnstest.TCP); err != nil {
					t.Fatal(err)
				}
				wantBoth(t, mustAnswer(t, b, mxQuestion)) // the next server
			})
		}
	}
}

func TestR32_NoThirdTry(t *testing.T) {
	for name, behave := range map[string]dnstest.Behaviour{
		"truncated": dnstest.TruncatePartly, "malformed": dnstest.Malformed, "cut": dnstest.CutFrame,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
			one.SetBehaviour(overUDP(), dnstest.Truncate)
			one.SetBehaviour(overTCP(), behave)
			wantBoth(t, mustAnswer(t, newBench(t, setting{}, one, two), mxQuestion))
			if len(one.Queries(overUDP())) != 1 || len(one.Queries(overTCP())) != 1 {
				t.Errorf("%d queries at the failed server, want one over UDP and one over TCP", len(one.Queries(dnstest.Match{})))
			}
		})
	}
	for name, behave := range map[string]dnstest.Behaviour{"truncated": dnstest.Truncate, "malformed": dnstest.Malformed} {
		t.Run(name+" with preference tcp", func(t *testing.T) {
			t.Parallel()
			one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
			one.SetBehaviour(overTCP(), behave)
			wantBoth(t, mustAnswer(t, newBench(t, setting{prefer: dnstransport.TCP}, one, two), mxQuestion))
			if n := len(one.Queries(dnstest.Match{})); n != 1 {
				t.Errorf("%d queries at the failed server, want 1", n)
			}
		})
	}
}

func TestR33_TCPPreferredAndNotPossible(t *testing.T) {
	for name, how := range map[string]func(*dnstest.Server) error{
		"refused": func(s *dnstest.Server) error { return s.Refuse(dnstest.TCP) },
		"reset":   func(s *dnstest.Server) error { s.SetBehaviour(overTCP(), dnstest.Reset); return nil },
		"hanging": func(s *dnstest.Server) error { s.SetBehaviour(overTCP(), dnstest.Hang); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := dnstest.Start(t, zone)
			if err := how(srv); err != nil {
				t.Fatal(err)
			}
			b := newBench(t, setting{prefer: dnstransport.TCP, timeouts: brisk()}, srv)
			wantBoth(t, mustAnswer(t, b, mxQuestion))
			if len(srv.Queries(overUDP())) == 0 {
				t.Error("not asked by UDP")
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.unavailable) != 1 || b.unavailable[0] != srv.Addr() {
				t.Errorf("dns_tcp_unavailable counted for %v, want the server once", b.unavailable)
			}
		})
	}
}

func TestR34_UDPUnreachable(t *testing.T) {
	srv := dnstest.Start(t, zone)
	if err := srv.Refuse(dnstest.UDP); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, setting{}, srv)
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	if len(srv.Queries(overTCP())) != 1 {
		t.Error("not answered over TCP")
	}
}

func TestR34_FirstTryUnanswered(t *testing.T) {
	t.Run("next server is asked beside", func(t *testing.T) {
		t.Parallel()
		one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
		one.SetBehaviour(dnstest.Match{}, dnstest.Hang)
		times := patient()
		times.UDPFirst = 100 * time.Millisecond
		began := time.Now()
		wantBoth(t, mustAnswer(t, newBench(t, setting{timeouts: times}, one, two), mxQuestion))
		if took := time.Since(began); took > times.UDPSecond {
			t.Errorf("took %s, want the second server long before the first is given up", took)
		}
	})
	t.Run("TCP on the first runs beside", func(t *testing.T) {
		t.Parallel()
		one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
		one.SetBehaviour(overUDP(), dnstest.Drop)
		two.SetBehaviour(dnstest.Match{}, dnstest.Hang)
		times := patient()
		times.UDPFirst = 100 * time.Millisecond
		wantBoth(t, mustAnswer(t, newBench(t, setting{timeouts: times}, one, two), mxQuestion))
		if len(one.Queries(overTCP())) != 1 || len(two.Queries(dnstest.Match{})) == 0 {
			t.Error("want TCP on the first and a query to the second")
		}
	})
	t.Run("a late answer of the first is still taken", func(t *testing.T) {
		t.Parallel()
		one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
		one.SetBehaviour(overTCP(), dnstest.Hang)
		one.SetBehaviour(overUDP(), dnstest.First(1, dnstest.Slow(400*time.Millisecond)), func(x *dnstest.Exchange) {
			if len(one.Queries(overUDP())) > 1 && x.Query.ID != one.Queries(overUDP())[0].ID {
				x.Drop()
			}
		})
		two.SetBehaviour(dnstest.Match{}, dnstest.Hang)
		times := patient()
		times.UDPFirst = 100 * time.Millisecond
		wantBoth(t, mustAnswer(t, newBench(t, setting{timeouts: times}, one, two), mxQuestion))
	})
}

func TestR36_LimitOfTheWholeLookup(t *testing.T) {
	var servers []*dnstest.Server
	for range 4 {
		srv := dnstest.Start(t, zone)
		srv.SetBehaviour(dnstest.Match{}, dnstest.Hang)
		servers = append(servers, srv)
	}
	times := patient()
	times.UDPFirst, times.Lookup, times.LookupPerServer = 50*time.Millisecond, 200*time.Millisecond, 100*time.Millisecond
	b := newBench(t, setting{timeouts: times}, servers...)
	if want := 400 * time.Millisecond; b.limit() != want {
		t.Errorf("limit %s for four servers, want %s", b.limit(), want)
	}
	began := time.Now()
	f := mustFail(t, b, mxQuestion, dnsquery.Temporary)
	if took := time.Since(began); took < 400*time.Millisecond || took > times.UDPSecond {
		t.Errorf("took %s, want it ended by the limit", took)
	}
	if len(f.Servers) != 4 || f.Servers[0].Result != dnsquery.ResultTimeout {
		t.Errorf("failure %v, want timeout of all four", f)
	}
}

func TestR36_Defaults(t *testing.T) {
	want := Timeouts{
		UDPFirst: time.Second, UDPSecond: 2 * time.Second, TCPConnect: 2 * time.Second, TCPTotal: 5 * time.Second,
		Lookup: 15 * time.Second, LookupPerServer: 5 * time.Second,
	}
	if DefaultTimeouts() != want {
		t.Errorf("%+v", DefaultTimeouts())
	}
}

// Each transport's own times: the second wait over UDP and the total of TCP end the ask.
func TestR36_TimesOfOneServer(t *testing.T) {
	for _, prefer := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
		srv := dnstest.Start(t, zone)
		srv.SetBehaviour(dnstest.Match{}, dnstest.Hang)
		b := newBench(t, setting{prefer: prefer, timeouts: brisk()}, srv)
		began := time.Now()
		mustFail(t, b, mxQuestion, dnsquery.Temporary)
		took, least := time.Since(began), 450*time.Millisecond
		if prefer == dnstransport.TCP {
			least = 600 * time.Millisecond
		}
		if took < least || took > 5*time.Second {
			t.Errorf("%s: took %s", prefer, took)
		}
		if prefer == dnstransport.UDP && srv.Count("example.test", dns.TypeMX) < 3 {
			t.Error("want two rounds over UDP and TCP")
		}
	}
}
