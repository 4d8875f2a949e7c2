// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	// firstDelivery is how long the stack should take from nothing to its first delivery; on a machine busy with other
	// work it may take twice that.
	firstDelivery = 30 * time.Second
	// delivery bounds one delivery of the demo; a silent host costs 3 s of it.
	delivery = 30 * time.Second
)

// TestContainers runs one stack; its parts follow each other, since they count what the hosts got.
func TestContainers(t *testing.T) {
	begin := time.Now()
	s := start(t)
	t.Logf("FIGURE start: all containers healthy after %.1f s", time.Since(begin).Seconds())
	t.Run("FirstDelivery", func(t *testing.T) { s.firstDelivery(t, begin) })
	t.Run("Images", s.images)
	t.Run("MemoryAtRest", s.memory)
	t.Run("Hardening", s.hardening)
	t.Run("S12_SilentFirstHost", s.silentFirstHost)
	t.Run("DeployPostrider", s.clientContainer)
	t.Run("O01_BounceAndNotificationInOneTrace", s.bounce)
	t.Run("D17_NotificationsJoinedInAList", s.joined)
	t.Run("L01_HopCountDecisionInTrace", s.hopCount)
	t.Run("L04_ReturningMessageDecisionInTrace", s.mirror)
	t.Run("Smarthost", s.smarthost)
	t.Run("KilledSender", s.killedSender)
	t.Run("SpanCatalogue", s.spanCatalogue)
}

// submit hands a message in from the host and returns its id and its trace id.
func (s *stack) submit(t *testing.T, subject, to, moreHeader string) (id, trace string, err error) {
	t.Helper()
	raw := make([]byte, 24)
	_, _ = rand.Read(raw) // never fails
	trace = hex.EncodeToString(raw[:16])
	ctx, cancel := context.WithTimeout(t.Context(), delivery)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", "00-"+trace+"-"+hex.EncodeToString(raw[16:])+"-01")
	content := moreHeader + "From: orders@shop.example\r\nTo: " + to + "\r\nSubject: " + subject + "\r\n" +
		"Message-ID: <" + subject + "@shop.example>\r\n\r\nA message of the container test.\r\n"
	answer, err := s.mail.Submit(ctx, &gatewayv1.SubmitRequest{Content: []byte(content), Envelope: &gatewayv1.Envelope{
		Sender: "orders@shop.example", Recipients: []*gatewayv1.Recipient{{Address: to}},
	}})
	return answer.GetAccepted().GetMessageId(), trace, err
}

func (s *stack) submitted(t *testing.T, subject, to string) (id, trace string) {
	t.Helper()
	id, trace, err := s.submit(t, subject, to, "")
	if err != nil {
		t.Fatal(err)
	}
	return id, trace
}

func (s *stack) done(t *testing.T, id string) *gatewayv1.RecipientStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), delivery)
	defer cancel()
	return suite.Await(ctx, t, s.mail, id, "done", suite.Done).GetRecipients()[0]
}

func (s *stack) firstDelivery(t *testing.T, begin time.Time) {
	s.submitted(t, "first", "ada@load.example")
	var took time.Duration
	eventually(t, delivery, "the first message at mx3", func() bool {
		for _, line := range s.host(t, "demo-good") {
			if line.Msg == "took" && line.Subject == "first" {
				took = line.Time.Sub(begin)
				return true
			}
		}
		return false
	})
	t.Logf("FIGURE start to first delivery: %.1f s (target %s)", took.Seconds(), firstDelivery)
	if took > 2*firstDelivery {
		t.Errorf("the first delivery came after %s, the target is %s", took, firstDelivery)
	}
}

// own are the services whose images are ours.
func own() []string { return []string{"gateway", "resolver", "sender", "dsn"} }

func (s *stack) images(t *testing.T) {
	for _, name := range append(own(), "postrider", "demohost") {
		var size float64
		if _, err := fmt.Sscan(run(t, "docker", "image", "inspect", "--format", "{{.Size}}", "postrider/"+name), &size); err != nil || size == 0 {
			t.Fatalf("size of postrider/%s: %v", name, err)
		}
		t.Logf("FIGURE image postrider/%-9s %5.1f MB", name, size/1e6)
	}
}

func (s *stack) memory(t *testing.T) {
	ids := strings.Fields(s.compose(t, "ps", "--quiet"))
	out := run(t, append([]string{"docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"}, ids...)...)
	for line := range strings.Lines(out) {
		t.Logf("FIGURE memory at rest: %s", strings.TrimSpace(line))
	}
	if n := strings.Count(out, "\n"); n != len(ids) || n < 12 {
		t.Errorf("%d containers of %d told their memory", n, len(ids))
	}
}

// hardening checks what each of our containers may do: nothing as root, nothing on its own file system.
func (s *stack) hardening(t *testing.T) {
	for _, service := range own() {
		for _, c := range s.containers(t, service) {
			got := inspect(t, c, "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.State.Health.Status}}")
			if want := "65532:65532 true [ALL] [no-new-privileges:true] healthy"; got != want {
				t.Errorf("%s: %s, want %s", service, got, want)
			}
		}
	}
	if n := len(s.containers(t, "sender")); n != 2 {
		t.Errorf("%d senders, want 2", n)
	}
}

func (s *stack) silentFirstHost(t *testing.T) {
	id, trace := s.submitted(t, "past-a-silent-host", "ada@reader.example")
	if r := s.done(t, id); r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED || len(r.GetAttempts()) != 1 {
		t.Fatalf("recipient %v, want delivered in one attempt", r)
	}
	spans := s.trace(t, trace, func(spans []span) bool {
		return len(spans) == 1 && has(spans, "sender.attempt", "queue.enqueue", "dns.query")
	})
	for name, least := range map[string]int{
		"postrider.gateway.v1.MailService/Submit": 1, "gateway.submit": 1, "gateway.loop_check": 1, "queue.enqueue": 1,
		"resolver.resolve_route": 1, "dns.query": 4,
	} {
		if n := len(below(spans, name)); n < least {
			t.Errorf("%d spans %s, want at least %d", n, name, least)
		}
	}
	attempt := below(spans, "sender.attempt")[0]
	tries := below(attempt.Children, "sender.try_host")
	if len(tries) != 3 || attempt.text("mail.verdict") != "delivered" {
		t.Fatalf("%d hosts tried, verdict %q; want 3, delivered", len(tries), attempt.text("mail.verdict"))
	}
	for i, want := range []struct{ host, reason, next string }{
		{"mx1.reader.example", "no_greeting", "next_host"}, {"mx2.reader.example", "connect", "next_host"}, {"mx3.reader.example", "", "delivered"},
	} {
		if got := tries[i]; got.text("server.address") != want.host || got.text("mail.reason") != want.reason || got.text("mail.left_for") != want.next {
			t.Errorf("host %d: %v, want %v", i, got.Attributes, want)
		}
	}
	for _, step := range []string{"connect", "greeting", "ehlo", "starttls", "mail", "rcpt", "data", "dot"} {
		if len(below(tries[2].Children, "smtp."+step)) == 0 {
			t.Errorf("no smtp.%s below the host that took the mail", step)
		}
	}
	tree := run(t, s.postrider(t, "trace", id, "--jaeger", s.jaeger)...)
	t.Logf("postrider trace %s\n%s", id, tree)
	contains(t, tree, "trace "+trace, "gateway.loop_check", "no loop  L-01 received=0 limit 100",
		"mx1.reader.example [10.254.25.3:25] preference 10  left for no_greeting at greeting  4.4.2  → next host",
		"mx2.reader.example [10.254.25.2:25] preference 20  left for connect",
		"mx3.reader.example [10.254.25.4:25] preference 30  TLS 1.3  took the mail", s.jaeger+"/trace/"+trace)
}

func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// clientContainer uses deploy/postrider, as somebody without Go does.
func (s *stack) clientContainer(t *testing.T) {
	message, err := os.ReadFile(filepath.Join(s.root, "deploy", "demo", "message.eml"))
	if err != nil {
		t.Fatal(err)
	}
	client := []string{filepath.Join(s.root, "deploy", "postrider")}
	out, err := with(bytes.NewReader(message), append(client, "send", "-", "--from", "orders@shop.example", "--to", "ada@reader.example")...)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(out)
	s.done(t, id)
	var tree string
	eventually(t, time.Minute, "the trace in Jaeger", func() bool {
		tree, err = try(append(client, "trace", id)...)
		return err == nil && strings.Contains(tree, "smtp.dot") && strings.Contains(tree, "gateway.submit")
	})
	// Which hosts are tried hangs on what the sender remembers of them by now.
	contains(t, tree, "gateway.loop_check", "mx3.reader.example [10.254.25.4:25] preference 30", "took the mail", "http://127.0.0.1:")
}

func (s *stack) bounce(t *testing.T) {
	id, trace := s.submitted(t, "to-nobody", "nobody@full.example")
	if r := s.done(t, id); r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_BOUNCED || r.GetStatus() != "5.1.1" {
		t.Fatalf("recipient %v, want bounced 5.1.1", r)
	}
	spans := s.trace(t, trace, func(spans []span) bool {
		return len(spans) == 1 && len(below(spans, "sender.attempt")) == 2 && has(spans, "dsn.decide", "dsn.compose", "dsn.submit")
	})
	handed := below(spans, "dsn.submit")[0]
	inner := below(handed.Children, "gateway.submit")
	if len(inner) != 1 || inner[0].text("mail.message_id") == "" || inner[0].text("mail.message_id") != handed.text("mail.dsn.notification_id") {
		t.Fatalf("the notification %s is not submitted below dsn.submit: %v", handed.text("mail.dsn.notification_id"), inner)
	}
	attempts := below(inner, "sender.attempt")
	if len(attempts) != 1 || attempts[0].text("mail.verdict") != "delivered" || attempts[0].text("mail.destination") != "shop.example" {
		t.Errorf("the notification's attempt: %v", attempts)
	}
	if !slices.ContainsFunc(s.host(t, "demo-good"), func(l hostLine) bool { return l.NullSender }) {
		t.Error("no notification at the mail host of shop.example")
	}
}

// joined sends twice to one mailbox that does not exist. The second notification is beyond dsn.throttle of the demo, so
// it is told in a list.
func (s *stack) joined(t *testing.T) {
	for _, subject := range []string{"refused-once", "refused-twice"} {
		id, _ := s.submitted(t, subject, "twice@full.example")
		s.done(t, id)
	}
	eventually(t, time.Minute, "a span dsn.list", func() bool { return s.emitted(t)["dsn.list"] })
}

// loopDecision is the refusing loop check of a trace.
func loopDecision(t *testing.T, spans []span) span {
	t.Helper()
	for _, check := range below(spans, "gateway.loop_check") {
		if check.text("mail.loop.decision") == "refuse" {
			return check
		}
	}
	t.Fatal("no loop check refuses")
	return span{}
}

func (s *stack) hopCount(t *testing.T) {
	header := strings.Repeat("Received: by mail.example; Mon, 02 Nov 2026 09:30:00 +0100\r\n", 101)
	_, trace, err := s.submit(t, "many-hops", "ada@load.example", header)
	if e := rpc.FromError(err); e == nil || e.Code != codes.FailedPrecondition || e.Reason != "LOOP" {
		t.Fatalf("got %v, want LOOP", err)
	}
	check := loopDecision(t, s.trace(t, trace, func(spans []span) bool { return len(below(spans, "gateway.loop_check")) == 1 }))
	if check.text("mail.loop.rule") != "L-01" || check.text("mail.loop.values") != "received=101" || check.text("mail.loop.limit") != "100" || check.text("mail.reason") != "hops" {
		t.Errorf("decision %v", check.Attributes)
	}
}

// mirror sends to a domain whose host hands every message back: taken the first time, refused the second.
func (s *stack) mirror(t *testing.T) {
	s.submitted(t, "to-a-mirror", "ada@mirror.example")
	var returned []hostLine
	eventually(t, delivery, "two returns of the message", func() bool {
		returned = slices.DeleteFunc(s.host(t, "demo-mirror"), func(l hostLine) bool { return l.Msg != "returned" })
		return len(returned) >= 2
	})
	found := false
	eventually(t, time.Minute, "a trace with the decision of L-04", func() bool {
		for _, id := range s.loopTraces(t) {
			spans := s.trace(t, id, func([]span) bool { return true })
			check := loopDecision(t, spans)
			if check.text("mail.loop.rule") == "L-04" && check.text("mail.loop.values") == "own_trace_returns=2" && check.text("mail.loop.limit") == "1" {
				found = true
			}
		}
		return found
	})
	if n := len(returned); n != 2 {
		t.Errorf("the mirror gave the message back %d times, want 2", n)
	}
}

func (s *stack) smarthost(t *testing.T) {
	id, trace := s.submitted(t, "through-a-smarthost", "ada@relayed.example")
	s.done(t, id)
	if !slices.ContainsFunc(s.host(t, "demo-relay"), func(l hostLine) bool { return l.Subject == "through-a-smarthost" }) {
		t.Error("the smarthost does not have the message")
	}
	spans := s.trace(t, trace, func(spans []span) bool { return len(below(spans, "smtp.dot")) == 1 })
	if auth := below(spans, "smtp.auth"); len(auth) != 1 || auth[0].text("smtp.reply.code") != "235" {
		t.Errorf("smtp.auth: %v", auth)
	}
}
