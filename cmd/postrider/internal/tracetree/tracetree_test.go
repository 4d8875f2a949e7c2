// SPDX-License-Identifier: Apache-2.0

package tracetree_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/cmd/postrider/internal/jaeger"
	"github.com/postrider/postrider/cmd/postrider/internal/tracetree"
	"github.com/postrider/postrider/cmd/postrider/internal/tree"
)

var begin = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func span(id, parent, name string, after, took time.Duration, attributes map[string]any) jaeger.Span {
	return jaeger.Span{ID: id, Parent: parent, Service: "sender", Name: name, Start: begin.Add(after), Duration: took, Attributes: attributes}
}

// pastASilentHost is a message that was delivered behind a silent host, told out of order as Jaeger may.
func pastASilentHost() []jaeger.Span {
	silent := span("t1", "a", "sender.try_host", 20*time.Millisecond, 3*time.Second, map[string]any{
		"server.address": "mx1.reader.example", "network.peer.address": "10.254.25.3", "network.peer.port": 25.0, "mail.mx.preference": 10.0,
		"mail.reason": "no_greeting", "smtp.stage": "greeting", "smtp.reply.enhanced": "4.4.2", "mail.left_for": "next_host", "error": true,
	})
	silent.Events = []jaeger.Event{{Name: "smtp.transcript", Time: begin, Attributes: map[string]any{"smtp.transcript.line": "(connected)\x1b[2J"}}}
	return []jaeger.Span{
		span("d", "t2", "smtp.dot", 3050*time.Millisecond, time.Millisecond, map[string]any{"smtp.reply.code": 250.0}),
		span("t2", "a", "sender.try_host", 3030*time.Millisecond, 30*time.Millisecond, map[string]any{
			"server.address": "mx3.reader.example", "network.peer.address": "10.254.25.4", "network.peer.port": 25.0, "mail.mx.preference": 30.0,
			"tls.protocol.version": "TLS 1.3", "mail.left_for": "",
		}),
		silent,
		span("s", "caller", "gateway.submit", 0, 10*time.Millisecond, map[string]any{"mail.message_id": "01K", "mail.recipients": 1.0, "mail.size": 450.0}),
		span("l", "s", "gateway.loop_check", time.Millisecond, time.Millisecond, map[string]any{
			"mail.loop.decision": "no_loop", "mail.loop.rule": "L-01 L-04", "mail.loop.values": "received=3 own_trace_returns=0", "mail.loop.limit": "100 1",
		}),
		span("a", "s", "sender.attempt", 15*time.Millisecond, 3*time.Second, map[string]any{"mail.attempt": 1.0, "mail.destination": "reader.example", "mail.verdict": "delivered"}),
		span("q", "a", "dns.query", 16*time.Millisecond, time.Millisecond, map[string]any{
			"dns.question.name": "reader.example.", "dns.question.type": "MX", "dns.answers": `["10 mx1.reader.example."]`, "server.address": "10.254.25.2", "network.transport": "udp",
		}),
	}
}

func TestO01_TreeTellsEachStepAndWhyAHostWasLeft(t *testing.T) {
	var out strings.Builder
	if err := tree.Write(&out, tracetree.Tree("4bf9", tracetree.Roots(pastASilentHost()))); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(out.String(), "\n")
	want := strings.Join([]string{
		"└─ gateway.submit  +0.0 ms  10.0 ms  01K  1 recipient  450 bytes",
		"   ├─ gateway.loop_check  +1.0 ms  1.0 ms  no loop  L-01 received=3 limit 100, L-04 own_trace_returns=0 limit 1",
		"   └─ sender.attempt  +15.0 ms  3.00 s  attempt 1  reader.example  delivered",
		"      ├─ dns.query  +16.0 ms  1.0 ms  reader.example. MX → 10 mx1.reader.example.  10.254.25.2 udp",
		"      ├─ sender.try_host  +20.0 ms  3.00 s  mx1.reader.example [10.254.25.3:25] preference 10  left for no_greeting at greeting  4.4.2  → next host",
		"      │  └─ (connected)?[2J",
		"      └─ sender.try_host  +3.03 s  30.0 ms  mx3.reader.example [10.254.25.4:25] preference 30  TLS 1.3  took the mail",
		"         └─ smtp.dot  +3.05 s  1.0 ms  250",
		"",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !strings.HasPrefix(out.String(), "trace 4bf9  7 spans of sender  ") || !strings.Contains(out.String(), ", 3.06 s\n") {
		t.Errorf("headline of\n%s", &out)
	}
}

func TestL09_TreeTellsTheLoopDecision(t *testing.T) {
	refused := span("l", "", "gateway.loop_check", 0, 0, map[string]any{
		"mail.loop.decision": "refuse", "mail.reason": "hops", "mail.loop.rule": "L-01", "mail.loop.values": "received=101", "mail.loop.limit": "100",
	})
	var out strings.Builder
	if err := tree.Write(&out, tracetree.Tree("4bf9", tracetree.Roots([]jaeger.Span{refused}))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "refuse  L-01 received=101 limit 100  hops") {
		t.Errorf("got %s", &out)
	}
}

func TestTreeOfOtherSpans(t *testing.T) {
	for want, s := range map[string]jaeger.Span{
		"Submit (sender server)": span("1", "", "x.Service/Submit", 0, 0, map[string]any{"span.kind": "server"}),
		"Submit (sender client)  +0.0 ms  0.0 ms  Unavailable": span("1", "", "x.Service/Submit", 0, 0, map[string]any{
			"span.kind": "client", "error": true, "otel.status_description": "Unavailable",
		}),
		"MAIL  sequence 7":        span("1", "", "queue.enqueue", 0, 0, map[string]any{"messaging.destination.name": "MAIL", "mail.queue.sequence": 7.0}),
		"3 hosts":                 span("1", "", "resolver.resolve_route", 0, 0, map[string]any{"mail.route.hosts": 3.0}),
		"failed due refused 1":    span("1", "", "dsn.decide", 0, 0, map[string]any{"mail.dsn.decisions": `["failed due refused 1"]`}),
		"failed  01N":             span("1", "", "dsn.submit", 0, 0, map[string]any{"mail.dsn.kind": "failed", "mail.dsn.notification_id": "01N"}),
		"x. MX → NXDOMAIN":        span("1", "", "dns.query", 0, 0, map[string]any{"dns.question.name": "x.", "dns.question.type": "MX", "dns.rcode": "NXDOMAIN"}),
		"x. MX → no such record":  span("1", "", "dns.query", 0, 0, map[string]any{"dns.question.name": "x.", "dns.question.type": "MX", "dns.rcode": "NOERROR"}),
		"1 of 2 accepted":         span("1", "", "smtp.rcpt", 0, 0, map[string]any{"mail.recipients": 2.0, "mail.recipients.accepted": 1.0}),
		"550  reply_5xx  5.1.1":   span("1", "", "smtp.rcpt", 0, 0, map[string]any{"smtp.reply.code": 550.0, "smtp.reply.enhanced": "5.1.1", "error.type": "reply_5xx", "error": true, "smtp.stage": "rcpt"}),
		"(address literal) [::1:": span("1", "", "sender.try_host", 0, 0, map[string]any{"network.peer.address": "::1"}),
	} {
		var out strings.Builder
		if err := tree.Write(&out, tracetree.Tree("4bf9", tracetree.Roots([]jaeger.Span{s}))); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, &out)
		}
	}
}

// TestRoots_StrangeTraces: a ring, a span that is its own parent and one told twice are each drawn once.
func TestRoots_StrangeTraces(t *testing.T) {
	spans := []jaeger.Span{
		span("a", "b", "ring", 0, 0, nil), span("b", "a", "ring", 1, 0, nil), span("c", "c", "self", 2, 0, nil),
		span("d", "", "twice", 3, 0, nil), span("d", "", "twice", 3, 0, nil),
	}
	var out strings.Builder
	if err := tree.Write(&out, tracetree.Tree("4bf9", tracetree.Roots(spans))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"ring": 2, "self": 1, "twice": 1} {
		if got := strings.Count(out.String(), name); got != want {
			t.Errorf("%s is drawn %d times, want %d:\n%s", name, got, want, &out)
		}
	}
}

func TestJSONIsTheContract(t *testing.T) {
	parent := span("s", "", "gateway.submit", 0, 1500*time.Microsecond, map[string]any{"mail.size": 450.0})
	child := span("l", "s", "gateway.loop_check", time.Millisecond, 0, map[string]any{})
	child.Links = []string{"x"}
	child.Events = []jaeger.Event{{Name: "e", Time: begin, Attributes: map[string]any{"k": "v"}}}
	got, err := json.Marshal(tracetree.JSON(tracetree.Roots([]jaeger.Span{child, parent})))
	const want = `[{"span_id":"s","parent_id":"","service":"sender","name":"gateway.submit","started_at":"2026-11-02T12:00:00Z","duration_ms":1.5,` +
		`"attributes":{"mail.size":450},"events":[],"links":[],"children":[` +
		`{"span_id":"l","parent_id":"s","service":"sender","name":"gateway.loop_check","started_at":"2026-11-02T12:00:00.001Z","duration_ms":0,` +
		`"attributes":{},"events":[{"name":"e","at":"2026-11-02T12:00:00Z","attributes":{"k":"v"}}],"links":["x"],"children":[]}]}]`
	if err != nil || string(got) != want {
		t.Errorf("got %s (%v)\nwant %s", got, err, want)
	}
}
