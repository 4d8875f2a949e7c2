// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/testkit/dnstest"
)

func TestR25_FailureIsRememberedForServerAndQuestion(t *testing.T) {
	for name, behave := range map[string]dnstest.Behaviour{
		"servfail": dnstest.RCode(dns.RcodeServerFailure), "timeout": dnstest.Hang,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
			one.SetBehaviour(dnstest.Match{Name: "example.test"}, behave)
			two.SetBehaviour(dnstest.Match{Name: "example.test"}, behave)
			b := newBench(t, setting{timeouts: brisk(), ttl: 10 * time.Second}, one, two)
			mustFail(t, b, mxQuestion, dnsquery.Temporary)
			before := len(one.Queries(dnstest.Match{})) + len(two.Queries(dnstest.Match{}))
			f := mustFail(t, b, mxQuestion, dnsquery.Temporary)
			if after := len(one.Queries(dnstest.Match{})) + len(two.Queries(dnstest.Match{})); after != before {
				t.Errorf("%d further queries, want none", after-before)
			}
			if len(f.Servers) != 2 || !f.Servers[0].Remembered {
				t.Errorf("failure %v, want it to say that it is remembered", f)
			}
			mustAnswer(t, b, dnsquery.Question{Name: "mx1.example.test", Type: dnsquery.TypeA}) // another question

			one.ClearBehaviour()
			two.ClearBehaviour()
			fresh := mxQuestion
			fresh.Fresh = true
			wantBoth(t, mustAnswer(t, b, fresh))
			mustFail(t, b, mxQuestion, dnsquery.Temporary)
			b.pass(10 * time.Second)
			wantBoth(t, mustAnswer(t, b, mxQuestion))
		})
	}
}

// Only the server that failed is passed over.
func TestR25_OtherServersAreStillAsked(t *testing.T) {
	one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
	one.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
	b := newBench(t, setting{ttl: 10 * time.Second}, one, two)
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	before := len(one.Queries(dnstest.Match{}))
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	if after := len(one.Queries(dnstest.Match{})); after != before {
		t.Error("the failed server was asked again")
	}
}

func TestR25_MemoryIsBounded(t *testing.T) {
	srv := dnstest.Start(t, "")
	now := time.Unix(0, 0)
	f := newFailures(time.Minute, func() time.Time { return now })
	for i := range maxFailures + 10 {
		f.add(srv.Addr(), dnsquery.Question{Name: string(rune('a'+i%26)) + time.Duration(i).String()}, dnsquery.ResultTimeout)
		if len(f.list) > maxFailures {
			t.Fatalf("%d failures remembered", len(f.list))
		}
	}
	f.forget("")
	if len(f.list) != 0 {
		t.Error("not forgotten")
	}
}

func TestR35_SkippedAfterThreeFailures(t *testing.T) {
	dead, good := dnstest.Start(t, zone), dnstest.Start(t, zone)
	dead.SetBehaviour(dnstest.Match{}, dnstest.Hang)
	b := newBench(t, setting{timeouts: brisk()}, dead, good)
	for range serverhealth.After {
		wantBoth(t, mustAnswer(t, b, mxQuestion))
	}
	before := b.sentTo(dead)
	began := time.Now()
	for range 20 {
		wantBoth(t, mustAnswer(t, b, mxQuestion))
	}
	if n := b.sentTo(dead) - before; n != 0 {
		t.Errorf("the dead server was asked %d times, want it skipped", n)
	}
	dead.ForgetQueries()
	t.Logf("mean of 20 lookups with one dead server of two: %s", time.Since(began)/20)

	b.pass(serverhealth.Pause)
	for range 5 {
		wantBoth(t, mustAnswer(t, b, mxQuestion))
	}
	b.probing.Wait()
	probes := map[uint16]bool{}
	for _, q := range dead.Queries(dnstest.Match{Transport: dnstest.UDP}) {
		if q.EDNS {
			probes[q.ID] = true
		}
	}
	if len(probes) == 0 || len(probes) > 2 {
		t.Errorf("%d queries to the dead server after 30 s, want those of one probe", len(probes))
	}

	dead.ClearBehaviour()
	b.pass(serverhealth.Pause)
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	b.probing.Wait()
	before = b.sentTo(dead)
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	if b.sentTo(dead) == before {
		t.Error("the server is not asked again after its probe succeeded")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.changes) != 2 || !b.changes[0].Failing || b.changes[1].Failing || b.changes[0].Server != dead.Addr() || b.changes[0].Transport != "" {
		t.Errorf("changes %+v, want one failing and one recovery of the server", b.changes)
	}
}

func TestR35_AllSkippedAreUsedAnyway(t *testing.T) {
	one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
	one.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeRefused))
	two.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeRefused))
	b := newBench(t, setting{}, one, two)
	for range serverhealth.After + 2 {
		mustFail(t, b, mxQuestion, dnsquery.Temporary)
	}
	if a, c := len(one.Queries(dnstest.Match{})), len(two.Queries(dnstest.Match{})); a != serverhealth.After+2 || c != serverhealth.After+2 {
		t.Errorf("%d and %d queries, want all servers asked every time", a, c)
	}
	one.ClearBehaviour()
	wantBoth(t, mustAnswer(t, b, mxQuestion))
}

// A transport that keeps failing is not tried first any more, and told once.
func TestR35_TransportIsSkipped(t *testing.T) {
	for _, broken := range []dnstransport.Transport{dnstransport.UDP, dnstransport.TCP} {
		t.Run(string(broken), func(t *testing.T) {
			t.Parallel()
			srv := dnstest.Start(t, zone)
			if err := srv.Refuse(dnstest.Transport(broken)); err != nil {
				t.Fatal(err)
			}
			b := newBench(t, setting{prefer: broken}, srv)
			for range serverhealth.After + 5 {
				wantBoth(t, mustAnswer(t, b, mxQuestion))
			}
			if n := len(b.results(broken)); n != serverhealth.After {
				t.Errorf("%d tries over %s, want %d", n, broken, serverhealth.After)
			}
			if err := srv.Accept(dnstest.Transport(broken)); err != nil {
				t.Fatal(err)
			}
			b.pass(serverhealth.Pause)
			mustAnswer(t, b, mxQuestion)
			b.probing.Wait()
			before := len(b.results(broken))
			mustAnswer(t, b, mxQuestion)
			if n := len(b.results(broken)); n != before+1 {
				t.Errorf("%s is not used again after its probe", broken)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.changes) != 2 || b.changes[0].Transport != broken || !b.changes[0].Failing || b.changes[1].Failing {
				t.Errorf("changes %+v, want one failing and one recovery of %s", b.changes, broken)
			}
		})
	}
}

// dns.why tells what the memory made of the order, and not that the first server or transport was asked as usual.
func TestR35_WhySaysWhatWasSkipped(t *testing.T) {
	whys := func(t *testing.T, b *bench, q dnsquery.Question) (first string) {
		t.Helper()
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		b.o.Tracer = provider.Tracer("test")
		ctx, span := provider.Tracer("test").Start(t.Context(), "test")
		if _, err := b.Query(ctx, q); err != nil {
			t.Fatal(err)
		}
		span.End()
		for _, s := range exporter.GetSpans() {
			for _, a := range s.Attributes {
				if s.Name == "dns.query" && a.Key == "dns.why" && first == "" {
					first = a.Value.AsString()
				}
			}
		}
		return first
	}
	t.Run("transport", func(t *testing.T) {
		srv := dnstest.Start(t, zone)
		if err := srv.Refuse(dnstest.TCP); err != nil {
			t.Fatal(err)
		}
		b := newBench(t, setting{prefer: dnstransport.TCP}, srv)
		for range serverhealth.After {
			if got, want := whys(t, b, mxQuestion), "first server"; got != want {
				t.Errorf("why %q, want %q", got, want)
			}
		}
		if got, want := whys(t, b, mxQuestion), "first server; by udp, since tcp is skipped after failures"; got != want {
			t.Errorf("why %q, want %q", got, want)
		}
	})
	t.Run("server", func(t *testing.T) {
		dead, good := dnstest.Start(t, zone), dnstest.Start(t, zone)
		dead.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeRefused))
		b := newBench(t, setting{}, dead, good)
		for range serverhealth.After {
			wantBoth(t, mustAnswer(t, b, mxQuestion))
		}
		if got, want := whys(t, b, mxQuestion), dead.Addr().String()+" is skipped after failures"; got != want {
			t.Errorf("why %q, want %q", got, want)
		}
	})
	t.Run("question", func(t *testing.T) {
		one, two := dnstest.Start(t, zone), dnstest.Start(t, zone)
		one.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure))
		b := newBench(t, setting{ttl: time.Minute}, one, two)
		wantBoth(t, mustAnswer(t, b, mxQuestion))
		if got, want := whys(t, b, mxQuestion), one.Addr().String()+" failed this question a moment ago: servfail"; got != want {
			t.Errorf("why %q, want %q", got, want)
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.Hang)
	b := newBench(t, setting{ttl: time.Minute}, srv)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Query(ctx, mxQuestion)
		done <- err
	}()
	if _, err := srv.WaitQueries(t.Context(), dnstest.Match{}, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	srv.ClearBehaviour()
	wantBoth(t, mustAnswer(t, b, mxQuestion)) // nothing was held against the server
}

func TestCloseEndsQuestions(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.Hang)
	b := newBench(t, setting{}, srv)
	done := make(chan error, 1)
	go func() {
		_, err := b.Query(context.WithoutCancel(t.Context()), mxQuestion)
		done <- err
	}()
	if _, err := srv.WaitQueries(t.Context(), dnstest.Match{}, 1); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := <-done; err == nil {
		t.Error("answered after Close")
	}
}

// A great many questions at once are not all sent at once, and those without answer do not hold up the others for long.
func TestManyQuestionsAtOnce(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{Name: "silent.test"}, dnstest.Hang)
	times := patient()
	times.UDPFirst, times.Lookup = 300*time.Millisecond, 15*time.Second
	b := newBench(t, setting{timeouts: times}, srv)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range maxYoung {
		wg.Go(func() { _, _ = b.Query(ctx, dnsquery.Question{Name: "silent.test", Type: dnsquery.TypeMX}) })
	}
	if _, err := srv.WaitQueries(t.Context(), dnstest.Match{Name: "silent.test"}, 1); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	wantBoth(t, mustAnswer(t, b, mxQuestion))
	if took := time.Since(began); took > times.Lookup/2 {
		t.Errorf("held up for %s", took)
	}
	cancel()
	wg.Wait()
	if n := len(b.young); n != 0 {
		t.Errorf("%d places still taken", n)
	}
}
