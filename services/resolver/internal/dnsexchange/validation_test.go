// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/dnswire"
	"github.com/postrider/postrider/testkit/dnstest"
)

const forgedRecords = `example.test MX 0 evil.test`

func TestR28_FormOfTheQuery(t *testing.T) {
	srv := dnstest.Start(t, zone)
	const rounds = 40
	for _, transport := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
		srv.ForgetQueries()
		b := newBench(t, setting{prefer: transport}, srv)
		for range rounds {
			mustAnswer(t, b, mxQuestion)
		}
		ids, ports := map[uint16]bool{}, map[uint16]bool{}
		for _, q := range srv.Queries(dnstest.Match{}) {
			if string(q.Transport) != string(transport) || !q.RD || !q.EDNS || !q.DO || q.UDPSize != dnswire.UDPSize || q.CD {
				t.Fatalf("%s: query %+v, want RD, EDNS0 with 1232 and DO", transport, q)
			}
			ids[q.ID], ports[q.Source.Port()] = true, true
		}
		if len(ids) < rounds-2 || len(ports) < rounds/2 {
			t.Errorf("%s: %d ids and %d source ports in %d queries, want them random", transport, len(ids), len(ports), rounds)
		}
	}
}

// A message that does not fit is passed over and the real one, which comes behind it, is used.
func TestR28_ForeignMessageFirst(t *testing.T) {
	again := func(change dnstest.Behaviour) dnstest.Behaviour {
		return func(x *dnstest.Exchange) {
			honest := x.Reply.Copy()
			change(x)
			x.Reply.Answer = nil
			x.Send(x.Reply)
			x.Reply = honest
		}
	}
	for name, behave := range map[string]dnstest.Behaviour{
		"wrong id":         again(dnstest.WrongID),
		"wrong name":       again(dnstest.WrongQuestion),
		"wrong type":       again(dnstest.WrongType),
		"wrong class":      again(func(x *dnstest.Exchange) { x.Reply.Question[0].Qclass = dns.ClassCHAOS }),
		"no question":      again(dnstest.NoQuestion),
		"a query":          again(dnstest.QueryBit),
		"forged, wrong id": dnstest.Forged(forgedRecords),
		"garbage":          func(x *dnstest.Exchange) { x.SendRaw([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"a few octets":     func(x *dnstest.Exchange) { x.SendRaw([]byte{0}) },
	} {
		for _, transport := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
			t.Run(name+" over "+string(transport), func(t *testing.T) {
				t.Parallel()
				srv := dnstest.Start(t, zone)
				srv.SetBehaviour(dnstest.Match{}, behave)
				b := newBench(t, setting{prefer: transport}, srv)
				wantBoth(t, mustAnswer(t, b, mxQuestion))
				if n := len(srv.Queries(dnstest.Match{})); n != 1 {
					t.Errorf("%d queries, want the real answer to the first one", n)
				}
			})
		}
	}
}

func TestR28_SenderAddress(t *testing.T) {
	t.Run("forged from another port first", func(t *testing.T) {
		t.Parallel()
		srv := dnstest.Start(t, zone)
		srv.SetBehaviour(dnstest.Match{}, dnstest.ForgedElsewhere(forgedRecords))
		wantBoth(t, mustAnswer(t, newBench(t, setting{}, srv), mxQuestion))
	})
	t.Run("from another port only", func(t *testing.T) {
		t.Parallel()
		srv := dnstest.Start(t, zone)
		srv.SetBehaviour(dnstest.Match{}, dnstest.OtherPort)
		mustFail(t, newBench(t, setting{timeouts: brisk()}, srv), mxQuestion, dnsquery.Temporary)
	})
}

func TestR28_NeverTheRealOne(t *testing.T) {
	for name, behave := range map[string]dnstest.Behaviour{
		"wrong id": dnstest.WrongID, "wrong question": dnstest.WrongQuestion, "wrong type": dnstest.WrongType,
		"no question": dnstest.NoQuestion, "a query": dnstest.QueryBit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := dnstest.Start(t, zone)
			srv.SetBehaviour(dnstest.Match{}, behave)
			f := mustFail(t, newBench(t, setting{timeouts: brisk()}, srv), mxQuestion, dnsquery.Temporary)
			if f.Servers[0].Result != dnsquery.ResultMalformed {
				t.Errorf("result %s, want malformed: the server did send something", f.Servers[0].Result)
			}
		})
	}
}

func TestR29_RefusalOfEDNS(t *testing.T) {
	for name, behave := range map[string]dnstest.Behaviour{
		"formerr": dnstest.NoEDNS(dns.RcodeFormatError),
		"notimp":  dnstest.NoEDNS(dns.RcodeNotImplemented),
		"badvers": dnstest.BadVers,
		"bare formerr header": func(x *dnstest.Exchange) {
			if x.Query.EDNS {
				dnstest.NoEDNS(dns.RcodeFormatError)(x)
				x.Reply.Question = nil
			}
		},
	} {
		for _, transport := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
			t.Run(name+" over "+string(transport), func(t *testing.T) {
				t.Parallel()
				srv := dnstest.Start(t, zone)
				srv.SetBehaviour(dnstest.Match{}, behave)
				b := newBench(t, setting{prefer: transport}, srv)
				edns := func() (with, without int) {
					for _, q := range srv.Queries(dnstest.Match{}) {
						if q.EDNS {
							with++
						} else {
							without++
						}
					}
					return with, without
				}
				for range 3 {
					wantBoth(t, mustAnswer(t, b, mxQuestion))
				}
				if with, without := edns(); with != 1 || without != 3 {
					t.Errorf("%d queries with EDNS0 and %d without, want 1 and 3: it is remembered", with, without)
				}
				b.pass(10*time.Minute - time.Second)
				mustAnswer(t, b, mxQuestion)
				if with, _ := edns(); with != 1 {
					t.Error("EDNS0 was tried again before 10 minutes were over")
				}
				b.pass(time.Second)
				mustAnswer(t, b, mxQuestion)
				if with, _ := edns(); with != 2 {
					t.Error("EDNS0 was not tried again after 10 minutes")
				}
			})
		}
	}
}

func TestR29_SilenceToEDNS(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.DropEDNS)
	b := newBench(t, setting{timeouts: brisk()}, srv)
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	srv.ForgetQueries()
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	for _, q := range srv.Queries(dnstest.Match{}) {
		if q.EDNS {
			t.Error("asked with EDNS0 again, want it remembered")
		}
	}
}

// One lost datagram is no proof that a server knows no EDNS0.
func TestR29_LostDatagram(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.First(1, dnstest.Drop))
	b := newBench(t, setting{timeouts: brisk()}, srv)
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	srv.ForgetQueries()
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	if got := srv.Queries(dnstest.Match{}); len(got) == 0 || !got[0].EDNS {
		t.Errorf("queries %+v, want EDNS0 still in use", got)
	}
}

func TestR39_AuthenticDataOnlyFromTrustedServers(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.AuthenticData)
	for _, trusted := range []bool{true, false} {
		if a := mustAnswer(t, newBench(t, setting{trusted: trusted}, srv), mxQuestion); a.Secure != trusted {
			t.Errorf("trusted %t: secure %t", trusted, a.Secure)
		}
	}
	srv.ClearBehaviour()
	if a := mustAnswer(t, newBench(t, setting{trusted: true}, srv), mxQuestion); a.Secure {
		t.Error("secure without the AD bit")
	}
}

func TestR40_BogusIsNeverOverruled(t *testing.T) {
	for _, transport := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
		validating, careless := dnstest.Start(t, zone), dnstest.Start(t, zone)
		validating.SetBehaviour(dnstest.Match{}, dnstest.Bogus)
		b := newBench(t, setting{prefer: transport, ttl: 10 * time.Second}, validating, careless)
		mustFail(t, b, mxQuestion, dnsquery.Bogus)
		mustFail(t, b, mxQuestion, dnsquery.Bogus) // remembered
		if n := len(careless.Queries(dnstest.Match{})); n != 0 {
			t.Errorf("%s: the next server was asked %d times, want never", transport, n)
		}
		if n := validating.Count("example.test", dns.TypeMX); n != 2 {
			t.Errorf("%s: %d queries, want one and one with CD", transport, n)
		}
	}
}

func TestR40_ServFailThatIsNotBogus(t *testing.T) {
	broken, good := dnstest.Start(t, zone), dnstest.Start(t, zone)
	broken.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
	wantBoth(t, mustAnswer(t, newBench(t, setting{}, broken, good), mxQuestion))
}
