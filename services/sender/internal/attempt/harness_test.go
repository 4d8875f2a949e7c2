// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const content = "From: <a@example.test>\r\nSubject: x\r\n\r\nhello\r\n"

// answers is a resolver that always says the same.
type answers struct {
	route *resolverv1.ResolveRouteResponse
	err   error
	asked []*resolverv1.ResolveRouteRequest
	hang  bool
}

func (a *answers) ResolveRoute(ctx context.Context, in *resolverv1.ResolveRouteRequest, _ ...grpc.CallOption) (*resolverv1.ResolveRouteResponse, error) {
	a.asked = append(a.asked, in)
	if a.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return a.route, a.err
}

// lab is an engine, its resolver and what lies behind its connections, in a synctest bubble.
type lab struct {
	t        *testing.T
	options  Options
	resolver *answers
	rec      *eventv1.QueuedMail
	job      Job
	hosts    map[string]smtptest.Conversation // by address; others refuse
	dialled  []string
	closed   bool
}

// inLab runs body. The record is one message for a@example.test, accepted now; the route is mx1 and mx2.
func inLab(t *testing.T, body func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, hosts: map[string]smtptest.Conversation{}, resolver: &answers{route: twoHosts()}}
		var open atomic.Int64
		l.options = Options{
			Hostname: "client.example.test", Timeouts: smtpclient.DefaultTimeouts(), Retry: retryschedule.Default(),
			Resolver: l.resolver, Connections: func(delta int) { open.Add(int64(delta)) }, Dial: l.dial,
		}
		l.rec = &eventv1.QueuedMail{
			MessageId: "01MESSAGE", Part: 2, Parts: 3, Hop: 4, Tenant: "tenant", Tag: "tag", Destination: "example.test",
			Priority: eventv1.Priority_PRIORITY_URGENT, AcceptedAt: timestamppb.Now(), IdempotencyHash: []byte{1},
			SubmitDigest: []byte{2}, ReportsOn: "01REPORT", Loop: &eventv1.LoopTrace{HopNumber: 1},
			Envelope: &eventv1.Envelope{
				Sender: "sender@example.test", Ret: eventv1.Ret_RET_HDRS, Envid: "envid",
				Recipients: []*eventv1.Recipient{{Address: "a@example.test"}},
			},
			Content: &eventv1.Content{Size: uint64(len(content)), DotLines: true},
		}
		l.job = Job{Record: l.rec, Number: 1, Body: func() (io.ReadSeekCloser, error) {
			return &memory{Reader: bytes.NewReader([]byte(content)), closed: &l.closed}, nil
		}}
		body(l)
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func twoHosts() *resolverv1.ResolveRouteResponse {
	return &resolverv1.ResolveRouteResponse{Domain: "example.test", Site: "mx.example.test", Hosts: []*resolverv1.Host{
		{Name: "mx1", Preference: 10, Addresses: []string{"192.0.2.1"}},
		{Name: "mx2", Preference: 20, Addresses: []string{"192.0.2.2"}},
	}}
}

func (l *lab) dial(_ context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	l.dialled = append(l.dialled, host)
	talk := l.hosts[host]
	if talk == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	l.t.Cleanup(smtptest.Script(l.t, server, talk)) // what it finds wrong at the end counts too
	return client, nil
}

// recipients makes the record one for several.
func (l *lab) recipients(all ...*eventv1.Recipient) {
	for i, r := range all {
		r.Index = uint32(i)
	}
	l.rec.Envelope.Recipients = all
}

func (l *lab) aged(d time.Duration) { l.rec.AcceptedAt = timestamppb.New(time.Now().Add(-d)) }

func (l *lab) run() *eventv1.Outcome {
	l.t.Helper()
	return l.runFor(l.t.Context())
}

func (l *lab) runFor(ctx context.Context) *eventv1.Outcome {
	l.t.Helper()
	e, err := New(l.options)
	if err != nil {
		l.t.Fatal(err)
	}
	return e.Run(ctx, l.job)
}

// only runs an attempt for one recipient and gives its result.
func (l *lab) only() *eventv1.RecipientResult {
	l.t.Helper()
	o := l.run()
	if len(o.GetResults()) != 1 {
		l.t.Fatalf("%d results", len(o.GetResults()))
	}
	return o.GetResults()[0]
}

// want checks state, status, reason and pause of a result.
func want(t *testing.T, r *eventv1.RecipientResult, state eventv1.RecipientState, status, reason string, pause time.Duration) {
	t.Helper()
	if r.GetState() != state || statusOf(r) != status || r.GetFailure().GetReason() != reason || r.GetPause().AsDuration() != pause {
		t.Errorf("got %s, %s, reason %q, pause %s; want %s, %s, %q, %s (%v)", r.GetState(), statusOf(r),
			r.GetFailure().GetReason(), r.GetPause().AsDuration(), state, status, reason, pause, r.GetFailure())
	}
	if deferred := r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_DEFERRED; (r.GetPause() != nil) != deferred {
		t.Errorf("pause %v with %s", r.GetPause(), r.GetState())
	}
}

func statusOf(r *eventv1.RecipientResult) string {
	s := r.GetStatus()
	var b strings.Builder
	for i, n := range []uint32{s.GetClass(), s.GetSubject(), s.GetDetail()} {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strings.TrimLeft(string(rune('0'+n/10)), "0") + string(rune('0'+n%10)))
	}
	return b.String()
}

const (
	delivered = eventv1.RecipientState_RECIPIENT_STATE_DELIVERED
	relayed   = eventv1.RecipientState_RECIPIENT_STATE_RELAYED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	expired   = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
	held      = eventv1.RecipientState_RECIPIENT_STATE_HELD
)

type memory struct {
	*bytes.Reader
	closed *bool
}

func (m *memory) Close() error {
	*m.closed = true
	return nil
}

// Conversations.

func takes(extensions ...string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet("mx", extensions...)
		s.Take()
		s.Quit()
	}
}

// rcpts answers RCPT so, one after the other, and takes the message when one is good.
func rcpts(replies ...string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Greet("mx")
		s.Expect("MAIL")
		s.Send("250 ok\r\n")
		good := false
		for _, reply := range replies {
			s.Expect("RCPT")
			s.Send(reply + "\r\n")
			good = good || strings.HasPrefix(reply, "2")
		}
		if good {
			s.Expect("DATA")
			s.Send("354 go\r\n")
			s.ReadData()
			s.Send("250 2.0.0 queued\r\n")
		}
		s.Quit()
	}
}

func greets(reply string) smtptest.Conversation {
	return func(s *smtptest.Conn) {
		s.Send(reply + "\r\n")
		s.Quit()
	}
}

// losesTheDot hangs up instead of answering the final dot.
func losesTheDot(s *smtptest.Conn) {
	s.Greet("mx")
	s.Envelope()
	s.ReadData()
}
