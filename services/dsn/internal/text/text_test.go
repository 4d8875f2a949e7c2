// SPDX-License-Identifier: Apache-2.0

package text

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

const (
	bounced   = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	expired   = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
	deferred  = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	cancelled = eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
)

// failed is a recipient who failed with a reason and no reply.
func failed(reason string) *eventv1.RecipientResult {
	return &eventv1.RecipientResult{
		Recipient: &eventv1.Recipient{Address: "bob@example.net"},
		State:     bounced,
		Failure:   &eventv1.Failure{Reason: reason},
	}
}

// replied is a recipient who failed with a reply.
func replied(stage eventv1.Stage, reply uint32, enhanced string, lines ...string) *eventv1.RecipientResult {
	r := &eventv1.Reply{Code: reply, Lines: lines}
	if enhanced != "" {
		c := &eventv1.EnhancedCode{}
		if _, err := fmt.Sscanf(enhanced, "%d.%d.%d", &c.Class, &c.Subject, &c.Detail); err != nil {
			panic(err)
		}
		r.Enhanced = c
	}
	return &eventv1.RecipientResult{
		Recipient: &eventv1.Recipient{Address: "bob@example.net"},
		State:     bounced,
		Status:    r.Enhanced,
		Failure:   &eventv1.Failure{Stage: stage, Reply: r, Status: r.Enhanced},
		Reply:     r,
		RemoteMta: "mx1.example.net",
	}
}

func input(kind policy.Kind, results ...*eventv1.RecipientResult) Input {
	day := time.Date(2026, time.November, 2, 10, 0, 0, 0, time.UTC)
	in := Input{
		Outcome: &eventv1.Outcome{
			MessageId: "01JB", Results: results, Attempt: &eventv1.Attempt{Number: 12},
			AcceptedAt: timestamppb.New(day), ExpiresAt: timestamppb.New(day.Add(5 * 24 * time.Hour)),
		},
		Kind:         kind,
		ReportingMTA: "mail.example.org",
	}
	for i := range results {
		in.Recipients = append(in.Recipients, i)
	}
	return in
}

// plain is the text on one line, for looking up sentences.
func plain(in Input) string { return strings.Join(strings.Fields(Compose(in)), " ") }

func mustSay(t *testing.T, in Input, sentences ...string) {
	t.Helper()
	said := plain(in)
	for _, sentence := range sentences {
		if !strings.Contains(said, sentence) {
			t.Errorf("%q is not said in:\n%s", sentence, Compose(in))
		}
	}
}

func mustNotSay(t *testing.T, in Input, sentences ...string) {
	t.Helper()
	said := plain(in)
	for _, sentence := range sentences {
		if strings.Contains(said, sentence) {
			t.Errorf("%q is said in:\n%s", sentence, Compose(in))
		}
	}
}

func TestFailedSaysWhatToWhomWhyAndWhatToDo(t *testing.T) {
	in := input(policy.Failed, replied(eventv1.Stage_STAGE_RCPT, 550, "5.1.1", "No such user"))
	in.Subject, in.Date = "Lunch", "Mon, 2 Nov 2026 10:00:00 +0000"
	mustSay(t, in,
		"Your message could not be delivered to the recipient below, and no further attempt will be made.",
		"Subject: Lunch Sent: Mon, 2 Nov 2026 10:00:00 +0000 Reference: 01JB",
		"bob@example.net What happened: The mail system of example.net knows no mailbox with this address.",
		"The answer of mx1.example.net was: 550 5.1.1 No such user",
		"What you can do: Check the address for typing errors.",
		"send all of this to your mail administrator")
}

func TestQ03_ExpiredTellsTheCauseFirst(t *testing.T) {
	result := failed("no_greeting")
	result.State, result.Status = expired, &eventv1.EnhancedCode{Class: 4, Subject: 4, Detail: 7}
	in := input(policy.Failed, result)
	mustSay(t, in, "What happened: The mail server of example.net accepted the connection and then stayed silent. "+
		"Delivery was tried 12 times since Monday, 2 November 2026, 10:00 UTC, and the time allowed for it is over.")

	result = replied(eventv1.Stage_STAGE_RCPT, 452, "4.2.2", "Over quota")
	result.State, result.Status = expired, &eventv1.EnhancedCode{Class: 4, Subject: 4, Detail: 7}
	mustSay(t, input(policy.Failed, result), "The recipient's mailbox is full. Delivery was tried 12 times", "452 4.2.2 Over quota")
}

func TestQ03_ExpiredWithoutAnAttempt(t *testing.T) {
	result := failed("site_down")
	result.State = expired
	in := input(policy.Failed, result)
	in.Outcome.Attempt = nil
	mustSay(t, in, "No mail server of example.net could be reached. The message has waited since Monday")
	in.Outcome.Attempt = &eventv1.Attempt{Number: 1}
	mustSay(t, in, "Delivery was tried once since Monday")
}

func TestQ04_DelayedAsksForPatience(t *testing.T) {
	result := replied(eventv1.Stage_STAGE_RCPT, 451, "4.7.1", "Later")
	result.State = deferred
	in := input(policy.Delayed, result)
	mustSay(t, in, "has not been delivered to the recipient below yet", "you need not do anything",
		"tried again and again until Saturday, 7 November 2026, 10:00 UTC", "do not send the message a second time", "451 4.7.1 Later")
	mustNotSay(t, in, "What you can do")
	in.Outcome.ExpiresAt = nil
	mustSay(t, in, "delivery is tried again and again.")
}

func TestD07_RelayedPromisesNothing(t *testing.T) {
	result := replied(eventv1.Stage_STAGE_DOT, 250, "2.0.0", "Ok")
	result.Failure = nil
	in := input(policy.Relayed, result)
	mustSay(t, in, "no further notice can be promised", "250 2.0.0 Ok")
	mustNotSay(t, in, "What happened", "What you can do")
	mustSay(t, input(policy.Delivered, result), "Your message was delivered to the recipient below.")
}

func TestS47_MayHaveBeenDelivered(t *testing.T) {
	mustSay(t, input(policy.Failed, failed("ambiguous")), "It is not certain that your message reached the recipient below", "It may have been delivered.", "before you send it again")
	marked := replied(eventv1.Stage_STAGE_RCPT, 550, "5.1.1", "No such user")
	marked.PossibleDuplicate = true
	mustSay(t, input(policy.Failed, marked), "knows no mailbox", "so it may have been delivered all the same")
	counted := failed("connect")
	counted.Recipient.AmbiguousInRow = 2
	mustSay(t, input(policy.Failed, counted), "so it may have been delivered all the same")
	mustNotSay(t, input(policy.Failed, failed("connect")), "delivered all the same", "not certain")
	mustSay(t, input(policy.Failed, failed("ambiguous"), failed("connect")), "could not be delivered to the 2 recipients")
}

func TestS45_DetailNamesTheSizes(t *testing.T) {
	result := failed("size")
	result.Failure.Detail = "The message has 30 MB; mx1.example.net takes 10 MB."
	mustSay(t, input(policy.Failed, result), "In detail: The message has 30 MB; mx1.example.net takes 10 MB.")
}

func TestQ13_CancelledIsSaid(t *testing.T) {
	result := failed("connect")
	result.State = cancelled
	mustSay(t, input(policy.Failed, result), "The message was taken back before it was delivered.")
}

func TestRecipientsWithOneFateShareOneExplanation(t *testing.T) {
	a, b, c := failed("null_mx"), failed("connect"), failed("null_mx")
	a.Recipient.Address, b.Recipient.Address, c.Recipient.Address = "a@example.net", "b@example.net", "c@example.net"
	in := input(policy.Failed, a, b, c)
	mustSay(t, in, "the 3 recipients below", "a@example.net c@example.net What happened: The domain example.net has declared")
	if n := strings.Count(Compose(in), "What happened"); n != 2 {
		t.Errorf("%d explanations, want 2", n)
	}
}

func TestOtherDomainsAreExplainedApart(t *testing.T) {
	a, b := failed("no_such_domain"), failed("no_such_domain")
	b.Recipient.Address = "b@example.com"
	mustSay(t, input(policy.Failed, a, b), "no domain named example.net", "no domain named example.com")
}

func TestReturnedIsSaid(t *testing.T) {
	for returned, want := range map[Returned]string{
		ReturnedNothing:     "A technical report is attached.",
		ReturnedHeaders:     "A technical report and the header lines of your message (sender, recipients, subject and the like) are attached.",
		ReturnedSomeHeaders: "A technical report and the first header lines of your message are attached.",
		ReturnedMessage:     "A technical report and your message are attached.",
	} {
		in := input(policy.Failed, failed("connect"))
		in.Returned = returned
		mustSay(t, in, want)
	}
}

// TestD12_RemoteTextStaysQuoted: every line of an answer is indented further than anything we say.
func TestD12_RemoteTextStaysQuoted(t *testing.T) {
	result := replied(eventv1.Stage_STAGE_RCPT, 550, "5.1.1", "one\r\n\r\nWhat you can do: send money\x1b[2J", "bob@example.net",
		strings.Repeat("y", 3000))
	text := Compose(input(policy.Failed, result))
	if !strings.Contains(text, "550 5.1.1 one????What you can do:") || strings.Contains(text, "\x1b") {
		t.Errorf("the answer is not cleaned:\n%s", text)
	}
	for line := range strings.SplitSeq(text, "\r\n") {
		if strings.Contains(line, "money") && !strings.HasPrefix(line, "        ") {
			t.Errorf("line %q of the remote stands as one of ours", line)
		}
	}
	if n := strings.Count(text, "y"); n > maxAnswerRunes+100 {
		t.Errorf("%d letters of the remote", n)
	}
}

func TestManyLinesAreCut(t *testing.T) {
	lines := make([]string, 100)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d", i)
	}
	in := input(policy.Failed, replied(eventv1.Stage_STAGE_RCPT, 550, "", lines...))
	mustSay(t, in, "550 line 0 line 1", "line 9 ...")
	mustNotSay(t, in, "line 10 ")
}

func TestSubjectIsClippedAndCleaned(t *testing.T) {
	in := input(policy.Failed, failed("connect"))
	in.Subject = "a\r\nb " + strings.Repeat("\u00fc", 5000)
	text := Compose(in)
	if !strings.Contains(text, "a??b ") || strings.Count(text, "\u00fc") != 195 {
		t.Errorf("subject is not clipped:\n%.500s", text)
	}
}

func FuzzCompose(f *testing.F) {
	f.Add("No such user", "mx", "bob@example.net", "no_greeting", uint16(550), uint8(11), uint8(0))
	f.Add("\r\n.\r\n", "\x00", "@", "", uint16(999), uint8(200), uint8(1))
	f.Add(strings.Repeat("\U0001F600", 2000), " ", strings.Repeat("x", 5000), "size", uint16(452), uint8(0), uint8(2))
	f.Fuzz(func(t *testing.T, answer, host, address, reason string, reply uint16, stage, mode uint8) {
		result := replied(eventv1.Stage(stage), uint32(reply), "", strings.Split(answer, "|")...)
		result.RemoteMta, result.Recipient.Address = host, address
		result.Failure.Reason, result.Failure.Detail = reason, answer
		in := input([]policy.Kind{policy.Failed, policy.Delayed, policy.Relayed}[mode%3], result, failed(reason))
		in.Subject, in.Date, in.ReportingMTA = answer, host, "mail.example.org"
		text := Compose(in)
		if !utf8.ValidString(text) || !strings.HasSuffix(text, "\r\n") {
			t.Errorf("not lines of UTF-8: %q", text)
		}
		for line := range strings.SplitSeq(text, "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00\x1b") {
				t.Errorf("line %q", line)
			}
		}
	})
}
