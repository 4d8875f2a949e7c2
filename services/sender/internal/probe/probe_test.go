// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/services/sender/internal/attempt"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// resolver always says the same.
type resolver struct {
	route *resolverv1.ResolveRouteResponse
	asked *resolverv1.ResolveRouteRequest
}

func (r *resolver) ResolveRoute(_ context.Context, in *resolverv1.ResolveRouteRequest, _ ...grpc.CallOption) (*resolverv1.ResolveRouteResponse, error) {
	r.asked = in
	return r.route, nil
}

// lab is an engine, its resolver and what lies behind its connections, in a synctest bubble.
type lab struct {
	t        *testing.T
	options  attempt.Options
	resolver *resolver
	hosts    map[string][]smtptest.Conversation // by address; others refuse
}

func inLab(t *testing.T, body func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, hosts: map[string][]smtptest.Conversation{}, resolver: &resolver{route: twoHosts()}}
		var open atomic.Int64
		l.options = attempt.Options{
			Hostname: "client.example.test", Timeouts: smtpclient.DefaultTimeouts(), Retry: retryschedule.Default(),
			Resolver: l.resolver, Connections: func(delta int) { open.Add(int64(delta)) }, Dial: l.dial,
		}
		body(l)
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func twoHosts() *resolverv1.ResolveRouteResponse {
	return &resolverv1.ResolveRouteResponse{Domain: "example.test", Hosts: []*resolverv1.Host{
		{Name: "mx1.example.test", Preference: 10, Addresses: []string{"192.0.2.1"}},
		{Name: "mx2.example.test", Preference: 20, Addresses: []string{"192.0.2.2"}},
	}}
}

func (l *lab) dial(_ context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	if len(l.hosts[host]) == 0 {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	talk := l.hosts[host][0]
	l.hosts[host] = l.hosts[host][1:]
	client, server := net.Pipe()
	l.t.Cleanup(smtptest.Script(l.t, server, talk)) // what it finds wrong at the end counts too
	return client, nil
}

// probe gives the steps as lines "stage address code reason".
func (l *lab) probe(req *senderv1.ProbeRequest) (lines []string, steps []*senderv1.ProbeResponse) {
	l.t.Helper()
	e, err := attempt.New(l.options)
	if err != nil {
		l.t.Fatal(err)
	}
	err = New(e).Probe(l.t.Context(), req, func(step *senderv1.ProbeResponse) error {
		steps = append(steps, step)
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	var before time.Duration
	for _, s := range steps {
		word := strings.ToLower(strings.TrimPrefix(s.GetStage().String(), "STAGE_"))
		if s.GetAddress() != "" {
			word += " " + strings.TrimSuffix(s.GetAddress(), ":25")
		}
		if c := s.GetReply().GetCode(); c != 0 {
			word += fmt.Sprint(" ", c)
		}
		if f := s.GetFailure(); f != nil {
			word += " !" + f.GetReason()
		}
		lines = append(lines, word)
		if s.GetText() == "" || s.GetElapsed().AsDuration() < before {
			l.t.Errorf("step without text or out of time: %v", s)
		}
		before = s.GetElapsed().AsDuration()
	}
	return lines, steps
}

// wantSteps compares line by line.
func wantSteps(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestProbeTellsEveryStepUpToRCPT(t *testing.T) {
	ca := smtptest.NewCA(t)
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.2"] = []smtptest.Conversation{func(s *smtptest.Conn) {
			s.Greet("mx2", "STARTTLS", "SIZE 1000")
			s.Expect("STARTTLS")
			s.Send("220 go\r\n")
			s.StartTLS(ca.ServerConfig("other.example.test"))
			s.Hello("mx2", "PIPELINING", "DSN")
			if line := s.Expect("MAIL"); line != "MAIL FROM:<alice@sender.test>" {
				s.Fail("%q", line)
			}
			s.Send("250 ok\r\n")
			s.Expect("RCPT TO:<bob@example.test>")
			s.Send("550 5.1.1 <bob@example.test> unknown\r\n")
			s.Quit() // and never DATA
		}}
		lines, steps := l.probe(&senderv1.ProbeRequest{Domain: "Example.TEST", MailFrom: "alice@sender.test", RcptTo: "bob@example.test"})
		wantSteps(t, lines,
			"resolve",
			"resolve 192.0.2.1", "connect 192.0.2.1 !connect", "quit 192.0.2.1 !connect",
			"resolve 192.0.2.2", "connect 192.0.2.2", "greeting 192.0.2.2 220", "ehlo 192.0.2.2 250", "starttls 192.0.2.2 220",
			"tls 192.0.2.2", "ehlo 192.0.2.2 250", "mail 192.0.2.2 250", "rcpt 192.0.2.2 550 !", "quit 192.0.2.2 !",
		)
		if l.resolver.asked.GetDomain() != "example.test" {
			t.Errorf("asked for %q", l.resolver.asked.GetDomain())
		}
		if text := steps[9].GetText(); !strings.Contains(text, "TLS 1.3") || !strings.Contains(text, "certificate for other.example.test") ||
			!strings.Contains(text, "does not carry the name mx2.example.test") || !strings.Contains(text, "not verified") {
			t.Errorf("TLS: %s", text)
		}
		if got := steps[9].GetTls(); got.GetVersion() != "TLS 1.3" || got.GetVerified() || got.GetPolicy() != "opportunistic" {
			t.Errorf("TLS %v", got)
		}
		if text := steps[13].GetText(); !strings.HasPrefix(text, "final") {
			t.Errorf("verdict %q", text)
		}
	})
}

func TestProbeStopsAfterTLSWithoutARecipient(t *testing.T) {
	inLab(t, func(l *lab) {
		for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
			l.hosts[address] = []smtptest.Conversation{func(s *smtptest.Conn) { s.Greet("mx"); s.Quit() }}
		}
		lines, steps := l.probe(&senderv1.ProbeRequest{Domain: "example.test"})
		wantSteps(t, lines,
			"resolve",
			"resolve 192.0.2.1", "connect 192.0.2.1", "greeting 192.0.2.1 220", "ehlo 192.0.2.1 250", "starttls 192.0.2.1", "quit 192.0.2.1",
			"resolve 192.0.2.2", "connect 192.0.2.2", "greeting 192.0.2.2 220", "ehlo 192.0.2.2 250", "starttls 192.0.2.2", "quit 192.0.2.2",
		)
		if steps[5].GetText() != "STARTTLS not offered" || !strings.HasPrefix(steps[6].GetText(), "usable") {
			t.Errorf("%q, %q", steps[5].GetText(), steps[6].GetText())
		}
	})
}

// Hosts that misbehave cost their time limit, and the walk goes on.
func TestProbeOfMisbehavingHosts(t *testing.T) {
	inLab(t, func(l *lab) {
		l.hosts["192.0.2.1"] = []smtptest.Conversation{func(s *smtptest.Conn) { s.Silent() }}
		l.hosts["192.0.2.2"] = []smtptest.Conversation{
			func(s *smtptest.Conn) { s.Send("220 mx\r\n"); s.Expect("EHLO") },
			func(s *smtptest.Conn) {
				s.Send("220 mx\r\n")
				s.Expect("HELO")
				s.Send("250 mx\r\n")
				s.Expect("MAIL FROM:<>")
				s.Send("421 4.3.2 later\r\n")
				s.ExpectClosed()
			},
		}
		lines, steps := l.probe(&senderv1.ProbeRequest{Domain: "example.test", RcptTo: "bob@example.test"})
		wantSteps(t, lines,
			"resolve",
			"resolve 192.0.2.1", "connect 192.0.2.1", "greeting 192.0.2.1 !no_greeting", "quit 192.0.2.1 !no_greeting",
			"resolve 192.0.2.2", "connect 192.0.2.2", "greeting 192.0.2.2 220", "ehlo 192.0.2.2 !connection_lost",
			"connect 192.0.2.2", "greeting 192.0.2.2 220", "helo 192.0.2.2 250", "starttls 192.0.2.2",
			"mail 192.0.2.2 421 !", "quit 192.0.2.2 !",
		)
		if took := steps[4].GetElapsed().AsDuration(); took != time.Minute {
			t.Errorf("the silent host took %s", took)
		}
	})
}

func TestProbeWithoutAWay(t *testing.T) {
	inLab(t, func(l *lab) {
		l.resolver.route = &resolverv1.ResolveRouteResponse{
			Domain: "example.test", Warnings: []string{"an MX was dropped"},
			Failure: (&smtpreply.Error{Stage: smtpreply.StageResolve, Reason: smtpreply.ReasonSpecialAddress, Detail: "all addresses are loopback"}).Proto(),
		}
		lines, steps := l.probe(&senderv1.ProbeRequest{Domain: "example.test"})
		wantSteps(t, lines, "resolve", "resolve !special_address")
		if steps[1].GetText() != "there is no way: all addresses are loopback" {
			t.Errorf("%q", steps[1].GetText())
		}
	})
}

func TestS39_S48_ProbeTellsThePolicyAndWhoItHoldsBack(t *testing.T) {
	inLab(t, func(l *lab) {
		l.resolver.route.Hosts[0].Failure = (&smtpreply.Error{Stage: smtpreply.StageResolve, Reason: smtpreply.ReasonMTASTSMismatch}).Proto()
		l.resolver.route.Hosts[1].Tls = &resolverv1.TlsPolicy{
			Kind: resolverv1.TlsPolicyKind_TLS_POLICY_KIND_MTA_STS, Origin: "mta-sts policy id 1", Finding: "expires soon",
		}
		l.hosts["192.0.2.2"] = []smtptest.Conversation{func(s *smtptest.Conn) { s.Greet("mx2"); s.Quit() }}
		lines, steps := l.probe(&senderv1.ProbeRequest{Domain: "example.test"})
		wantSteps(t, lines,
			"resolve", "resolve !mta_sts_mismatch", "resolve 192.0.2.2", "connect 192.0.2.2", "greeting 192.0.2.2 220",
			"ehlo 192.0.2.2 250", "starttls 192.0.2.2 !tls_not_offered", "quit 192.0.2.2 !tls_not_offered")
		want := "TLS policy mta-sts (mta-sts policy id 1): STARTTLS and a certificate for mx2.example.test, or no delivery"
		if got := steps[2]; got.GetText() != want || got.GetTls().GetFinding() != "expires soon" {
			t.Errorf("%v", got)
		}
	})
}

func TestR22_ProbeKeepsTheLimitsOfAnAttempt(t *testing.T) {
	inLab(t, func(l *lab) {
		l.resolver.route.Hosts = nil
		for i := range 4 {
			h := &resolverv1.Host{Name: fmt.Sprintf("mx%d.example.test", i)}
			for k := range 6 {
				h.Addresses = append(h.Addresses, fmt.Sprintf("192.0.2.%d", 10*i+k))
			}
			l.resolver.route.Hosts = append(l.resolver.route.Hosts, h)
		}
		lines, steps := l.probe(&senderv1.ProbeRequest{Domain: "example.test"})
		if n := strings.Count(strings.Join(lines, "\n"), "connect 192"); n != 10 {
			t.Errorf("%d addresses tried", n)
		}
		if last := steps[len(steps)-1].GetText(); !strings.HasPrefix(last, "14 more addresses") {
			t.Errorf("last step %q", last)
		}
	})
}

func TestS43_ProbeThroughASmarthost(t *testing.T) {
	inLab(t, func(l *lab) {
		l.options.Destinations = destination.List{{Match: "*", Smarthost: destination.Smarthost{Host: "[relay.test]", Port: 25}}}
		l.resolver.route.Hosts = l.resolver.route.Hosts[:1]
		l.hosts["192.0.2.1"] = []smtptest.Conversation{func(s *smtptest.Conn) { s.Greet("relay"); s.Quit() }}
		lines, steps := l.probe(&senderv1.ProbeRequest{Domain: "example.test"})
		if lines[0] != "local" || !strings.Contains(steps[0].GetText(), "[relay.test]:25") || l.resolver.asked.GetSmarthost() != "[relay.test]:25" {
			t.Errorf("first step %v, asked %v", steps[0], l.resolver.asked)
		}
	})
}

func TestProbeRefusesARequestAtFault(t *testing.T) {
	for field, req := range map[string]*senderv1.ProbeRequest{
		"domain":    {},
		"mail_from": {Domain: "x.test", MailFrom: "a@x.test"},
		"rcpt_to":   {Domain: "x.test", RcptTo: "b@x.test>\r\nDATA"},
	} {
		err := New(nil).Probe(t.Context(), req, nil)
		e, ok := errors.AsType[*rpc.Error](err)
		if !ok || e.Code != codes.InvalidArgument || len(e.Fields) != 1 || e.Fields[0].Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A probe ends at once when nobody listens any more, and gives its slot back.
func TestProbeEndsWithItsListener(t *testing.T) {
	inLab(t, func(l *lab) {
		gone := errors.New("gone")
		l.hosts["192.0.2.1"] = []smtptest.Conversation{func(s *smtptest.Conn) { s.Send("220 mx\r\n"); s.Silent() }}
		e, err := attempt.New(l.options)
		if err != nil {
			t.Fatal(err)
		}
		p, start := New(e), time.Now()
		err = p.Probe(l.t.Context(), &senderv1.ProbeRequest{Domain: "example.test"}, func(s *senderv1.ProbeResponse) error {
			if s.GetStage() == eventv1.Stage_STAGE_GREETING {
				return gone
			}
			return nil
		})
		if !errors.Is(err, gone) || time.Since(start) > time.Second || len(p.slots) != 0 {
			t.Errorf("%v after %s, %d slots taken", err, time.Since(start), len(p.slots))
		}
	})
}

// waiting is an engine whose answer is long in coming.
type waiting struct{}

func (waiting) Ways(ctx context.Context, _ string) attempt.Ways {
	<-ctx.Done()
	return attempt.Ways{Failure: &smtpreply.Error{Stage: smtpreply.StageResolve}}
}

func TestProbesAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ended := New(waiting{}), make(chan error)
		req, drop := &senderv1.ProbeRequest{Domain: "x.test"}, func(*senderv1.ProbeResponse) error { return nil }
		for range maxProbes {
			go func() { ended <- p.Probe(t.Context(), req, drop) }()
		}
		synctest.Wait()
		err := p.Probe(t.Context(), req, drop)
		if e, ok := errors.AsType[*rpc.Error](err); !ok || e.Code != codes.ResourceExhausted || e.RetryAfter == 0 {
			t.Errorf("one more: %v", err)
		}
		start := time.Now()
		for range maxProbes {
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ended with %v", err)
			}
		}
		if took := time.Since(start); took > probeTime {
			t.Errorf("took %s", took)
		}
	})
}
