// SPDX-License-Identifier: Apache-2.0

package dnsonetransport_test

import (
	"context"
	_ "embed"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

//go:embed zone.txt
var zone string

const message = "From: a@sender.example\r\nSubject: one transport\r\nMessage-ID: <one-transport@sender.example>\r\n" +
	"Date: Mon, 02 Nov 2026 09:30:00 +0100\r\n\r\nOne way is enough.\r\n"

// direction is a transport that is asked first and refused, the one that is left, and what `dns check` finds then.
type direction struct {
	refused, left dnstest.Transport
	cells         []check
}

func TestR33_TCPRefusedIsDeliveredByUDP(t *testing.T) {
	inEachShape(t, direction{
		refused: dnstest.TCP, left: dnstest.UDP,
		cells: []check{{"udp", "plain", "ok"}, {"tcp", "plain", "refused"}, {"udp", "edns", "ok"}, {"tcp", "truncation", "refused"}},
	})
}

func TestR34_UDPRefusedIsDeliveredByTCP(t *testing.T) {
	inEachShape(t, direction{
		refused: dnstest.UDP, left: dnstest.TCP,
		cells: []check{{"udp", "plain", "refused"}, {"tcp", "plain", "ok"}, {"udp", "edns", "refused"}, {"udp", "truncation", "refused"}},
	})
}

func inEachShape(t *testing.T, d direction) {
	for _, shape := range suite.Shapes() {
		t.Run(string(shape), func(t *testing.T) { run(t, shape, d) })
	}
}

func run(t *testing.T, shape suite.Shape, d direction) {
	host := smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.recipient.example"})
	dns := dnstest.Start(t, zone)
	sink := oteltest.Start(t)
	s := suite.Start(t, shape, suite.Options{Env: sink.Env(), Settings: suite.Settings{
		"resolver.servers":        []string{dns.Addr().String()},
		"resolver.transport":      string(d.refused),
		"resolver.check_interval": "0s", // what the background check learns would spare the lookup its first step
		"sender.smtp_port":        host.Addr().Port(),
	}})
	resolver := resolverOf(t, s)
	checkServers(t, resolver, 0, dns.Addr(), allOK)

	if err := dns.Refuse(d.refused); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	mail := s.Mail(t)
	id := suite.Submit(ctx, t, mail, []byte(message), "a@sender.example", "b@recipient.example")
	host.Wait(1, 30*time.Second)
	m := suite.Await(ctx, t, mail, id, "done", suite.Done)
	r := m.GetRecipients()[0]
	if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED || len(r.GetAttempts()) != 1 {
		t.Errorf("recipient %v, want delivered in the first attempt", r)
	}
	checkTrace(ctx, t, sink, m.GetTraceId(), dns, d)
	if n := len(dns.Queries(dnstest.Match{Transport: d.refused, Name: "recipient.example"})); n > 0 {
		t.Errorf("the server saw %d questions over %s, which it refuses", n, d.refused)
	}

	checkServers(t, resolver, 1, dns.Addr(), d.cells)
	if err := dns.Accept(d.refused); err != nil {
		t.Fatal(err)
	}
	checkServers(t, resolver, 0, dns.Addr(), allOK)
	if shape == suite.FourProcesses {
		checkGatewayIsNotTheResolver(t, s)
	}
}

// checkTrace wants for each question both transports in the message's trace: the one refused, and the other with the
// answer and the reason why it was asked.
func checkTrace(ctx context.Context, t *testing.T, sink *oteltest.Sink, id string, dns *dnstest.Server, d direction) {
	t.Helper()
	answered := func(name, typ string) (found []oteltest.Span) {
		for _, span := range sink.Trace(id).Named("dns.query") {
			if span.Str("dns.question.name") == name && span.Str("dns.question.type") == typ && span.Str("dns.result") == "answered" {
				found = append(found, span)
			}
		}
		return found
	}
	questions := [][2]string{{"recipient.example", "MX"}, {"mx.recipient.example", "A"}}
	err := sink.WaitFor(ctx, func([]oteltest.Span) bool {
		for _, q := range questions {
			if len(answered(q[0], q[1])) == 0 {
				return false
			}
		}
		return len(sink.Trace(id).Named("resolver.resolve_route")) == 1
	})
	trace := sink.Trace(id)
	if err != nil {
		t.Fatalf("%v\n%s", err, trace)
	}
	route := trace.Named("resolver.resolve_route")[0]
	for _, span := range trace.Named("dns.query") {
		over, result, port := span.Str("network.transport"), span.Str("dns.result"), span.Int("server.port")
		switch {
		case !trace.Under(span, route), span.Str("server.address") != dns.Addr().Addr().String(), port != int64(dns.Addr().Port()):
			t.Errorf("query of %s over %s: server %s:%d, below the route: %t", span.Str("dns.question.name"), over,
				span.Str("server.address"), port, trace.Under(span, route))
		case over == string(d.refused) && (result != "refused" || span.Status != "error"):
			t.Errorf("over %s: result %q, status %s, want refused", over, result, span.Status)
		case over == string(d.left) && span.Str("dns.rcode") == "":
			t.Errorf("over %s: result %q without rcode", over, result)
		case span.Str("dns.why") == "":
			t.Errorf("query over %s does not say why it was made", over)
		}
	}
	// The very first question shows the whole step.
	steps := trace.Named("dns.query")
	if over := steps[0].Str("network.transport"); steps[0].Str("dns.question.type") != "MX" || over != string(d.refused) {
		t.Errorf("the first query is %s over %s, want MX over %s\n%s", steps[0].Str("dns.question.type"), over, d.refused, trace)
	}
	mx := answered("recipient.example", "MX")[0]
	if why, want := mx.Str("dns.why"), string(d.refused)+": refused"; mx.Str("network.transport") != string(d.left) || why != want {
		t.Errorf("MX was answered over %s because of %q, want %s, %q", mx.Str("network.transport"), why, d.left, want)
	}
}
