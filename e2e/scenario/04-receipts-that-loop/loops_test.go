// SPDX-License-Identifier: Apache-2.0

package receiptsthatloop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/oteltest"
	"github.com/postrider/postrider/testkit/smtptest"
)

// hop is the Received field of a relay that writes one.
func hop(n int) string {
	return fmt.Sprintf("Received: from x by mx.relay.example with ESMTP id R%d; Mon, 02 Nov 2026 09:%02d:00 +0100", n, n%60)
}

// newReceipt is a receipt that the relay makes about whatever came: nothing of the message before is left in it, and it
// goes to a mailbox that has nothing to do with it.
func newReceipt(n int, to *node, m *smtptest.Message) ([]byte, []string) {
	back := "operator@" + map[string]string{"a": "b", "b": "a"}[to.name] + ".example"
	return fmt.Appendf(nil, "From: Mail System <postmaster@mx.relay.example>\r\nTo: <%s>\r\nSubject: Receipt no. %d of Mon, %d Nov 2026\r\n"+
		"Date: Mon, 02 Nov 2026 09:%02d:%02d +0100\r\nMessage-ID: <20261102.%d.%x@mx.relay.example>\r\n\r\n"+
		"Your message <%d.20261102093%d.AF%dB@mx.relay.example> of %d bytes was\r\ndelivered on 2026-11-02 at 09:%02d:%02d, queue id %X.\r\n",
		back, 4711+n*13, 1+n, n%60, (n*7)%60, n, n*7919, n, 100000+n, n*31, len(m.Data), n%60, n, 0xA0000+n*4099), []string{back}
}

func TestReceiptsThatLoop(t *testing.T) {
	for _, tc := range []struct {
		name                        string
		change                      func(int, *node, *smtptest.Message) ([]byte, []string)
		by                          string // node that refuses
		rule, values, limit, reason string
		handed                      int // messages the relay hands on until it is refused
	}{
		{
			name: "L04 the relay keeps headers", by: "a", rule: "L-04", values: "own_trace_returns=2", limit: "1", reason: "own_trace", handed: 4,
			change: func(n int, _ *node, m *smtptest.Message) ([]byte, []string) { return withField(hop(n), m.Data), m.To() },
		},
		{
			name: "L04 the relay strips Received", by: "a", rule: "L-04", values: "own_trace_returns=2", limit: "1", reason: "own_trace", handed: 4,
			change: func(_ int, _ *node, m *smtptest.Message) ([]byte, []string) {
				return without(m.Data, "Received"), m.To()
			},
		},
		{
			name: "L07 the relay strips all of our fields and gives new Message-IDs", by: "b", rule: "L-07", values: "equal_responses=6", limit: "5",
			reason: "fingerprint", handed: 11,
			change: func(n int, _ *node, m *smtptest.Message) ([]byte, []string) {
				bare := without(m.Data, "Received", "Postrider-Trace", "Message-ID")
				return withField(fmt.Sprintf("Message-ID: <%d.%x@mx.relay.example>", n, n*7919), bare), m.To()
			},
		},
		{
			name: "L07 the relay makes a new receipt each time", by: "b", rule: "L-07", values: "equal_responses=6", limit: "5",
			reason: "fingerprint", handed: 11, change: newReceipt,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			sink := oteltest.Start(t)
			r, marks, settings := start(t, tc.change)
			a, b := startNode(t, "a", "", settings, sink), startNode(t, "b", "", settings, sink)
			r.run(a, b)

			submit(ctx, t, a, "user@a.example", refusedMailbox, letter("user@a.example", "a question"))
			passed := r.await(ctx, "refused", func(all []passing) bool {
				return len(all) > 0 && all[len(all)-1].refused != "" || len(all) > 2*mostRounds+2
			})
			last := passed[len(passed)-1]
			if len(passed) != tc.handed || last.to != tc.by || !strings.HasPrefix(last.refused, "554 5.4.6 message 01") ||
				!strings.Contains(last.refused, tc.rule+" ("+tc.reason+"), "+tc.values+", limit "+tc.limit) {
				t.Fatalf("%d handed on, the last was answered by %s with %q", len(passed), last.to, last.refused)
			}
			if rounds := len(passed) / 2; rounds > mostRounds {
				t.Errorf("%d rounds", rounds)
			}

			settled(ctx, t, marks, a)
			settled(ctx, t, marks, b)
			if now := r.passed(); len(now) != len(passed) || r.host.Counts().Messages != len(passed) {
				t.Errorf("%d messages came to the relay, %d were handed on when the loop ended", r.host.Counts().Messages, len(passed))
			}
			for _, p := range passed {
				if !p.nullFrom {
					t.Error("a looping message has an envelope sender")
				}
			}
			noNotificationToNobody(ctx, t, a, 1)
			noNotificationToNobody(ctx, t, b, 0)

			refusing := map[string]*node{"a": a, "b": b}[tc.by]
			id := regexp.MustCompile(`01[0-9A-Z]{24}`).FindString(last.refused)
			check := sink.Await(limit, oteltest.Named("gateway.loop_check", "mail.loop.decision", "refuse"))
			for key, want := range map[string]string{
				"mail.loop.rule": tc.rule, "mail.loop.values": tc.values, "mail.loop.limit": tc.limit, "mail.reason": tc.reason,
			} {
				if check.Str(key) != want {
					t.Errorf("%s = %q, want %q", key, check.Str(key), want)
				}
			}
			if parent, ok := sink.Trace(check.TraceID).Parent(check); !ok || parent.Name != "gateway.submit" || parent.Str("mail.message_id") != id {
				t.Errorf("the deciding span lies below %q of message %q", parent.Name, parent.Str("mail.message_id"))
			}
			if n := len(sink.Find(oteltest.Named("gateway.loop_check", "mail.loop.decision", "refuse"))); n != 1 {
				t.Errorf("%d loops were found", n)
			}
			if len(sink.Find(oteltest.Named("gateway.loop_check", "mail.loop.decision", "no_loop"))) < len(passed) {
				t.Error("not every decision is a span")
			}
			explained(ctx, t, refusing, id, tc.rule, tc.limit, "refused")
			refusing.Processes["postrider"].Stop(t)
			again := startNode(t, refusing.name, refusing.Dir, settings, sink)
			explained(ctx, t, again, id, tc.rule, tc.limit, "refused")
		})
	}
}

// noNotificationToNobody: every notification is about a message that has an envelope sender, and there are so many, the
// one about the mark apart.
func noNotificationToNobody(ctx context.Context, t *testing.T, n *node, want int) {
	t.Helper()
	reports := 0
	for _, m := range all(ctx, t, n) {
		if m.GetReportsOn() == "" {
			continue
		}
		reports++
		about, err := n.mail.GetMessage(ctx, &gatewayv1.GetMessageRequest{MessageId: m.GetReportsOn()})
		if err != nil {
			t.Fatal(err)
		}
		if about.GetMessage().GetSender() == "" {
			t.Errorf("%s notified the null sender of %s", n.name, m.GetReportsOn())
		}
	}
	if reports != want+1 {
		t.Errorf("%s made %d notifications, want %d and that of the mark", n.name, reports, want)
	}
}

// explained asks by the command line what a rule decided about a message.
func explained(ctx context.Context, t *testing.T, n *node, id, rule, most, decision string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, suite.Program(t, "postrider"), "explain", id, "--json", "--server", n.Gateway)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("explain: %v\n%s", err, out.String())
	}
	var answer struct {
		Decisions []struct {
			Rule, Decision, Limit string
			Values                map[string]string
		}
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		t.Fatalf("explain printed %s: %v", out.String(), err)
	}
	for _, d := range answer.Decisions {
		if d.Rule == rule && d.Decision == decision && d.Limit == most && len(d.Values) > 0 {
			return
		}
	}
	t.Errorf("explain %s has no %s %s with limit %s: %s", id, rule, decision, most, out.String())
}

// TestL05_L08_OwnHostAmongTheMX: mail whose MX is the node itself fails at once with 5.4.6; a null sender gets no
// notification of it, another sender one.
func TestL05_L08_OwnHostAmongTheMX(t *testing.T) {
	for name, value := range map[string]string{"node.own_hosts": "mx.relay.example", "node.own_addresses": "127.0.0.2"} {
		t.Run(name, func(t *testing.T) { ownHost(t, name, value) })
	}
}

func ownHost(t *testing.T, name, value string) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, marks, settings := start(t, newReceipt)
	settings[name] = []string{value}
	n := startNode(t, "a", "", settings, oteltest.Start(t))
	for _, from := range []string{"", "user@marks.example"} {
		id := submit(ctx, t, n, from, "b@b.example", letter("user@marks.example", "to ourselves"))
		m := suite.Await(ctx, t, n.mail, id, "done", suite.Done)
		if got := m.GetRecipients()[0]; got.GetStatus() != "5.4.6" || got.GetReason() != "mx_self" {
			t.Errorf("from %q: %v", from, got)
		}
		explained(ctx, t, n, id, "L-01", "100", "no_loop")
	}
	got := marks.Wait(1, limit)
	if got[0].From != "" || got[0].To()[0] != "user@marks.example" || !bytes.Contains(got[0].Data, []byte("Status: 5.4.6")) {
		t.Errorf("notification from %q to %v", got[0].From, got[0].To())
	}
	settled(ctx, t, marks, n)
	if c := marks.Counts().Messages; c != 2 { // one, and that of the mark
		t.Errorf("%d notifications", c)
	}
	if c := r.host.Counts().Accepted; c != 0 {
		t.Errorf("%d connections to an own host", c)
	}
}
