// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

const (
	bounced  = eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
	expired  = eventv1.RecipientState_RECIPIENT_STATE_EXPIRED
	deferred = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
	relayed  = eventv1.RecipientState_RECIPIENT_STATE_RELAYED
)

// original is a message as it was sent.
const original = "Received: from app.example.org by mail.example.org with ESMTP id 01JB;\r\n" +
	"\tMon, 2 Nov 2026 09:59:58 +0000\r\n" +
	"From: Anna <header-from@example.com>\r\n" +
	"Sender: header-sender@example.com\r\n" +
	"Reply-To: reply-to@example.com\r\n" +
	"Return-Path: <return-path@example.com>\r\n" +
	"Disposition-Notification-To: disposition@example.com\r\n" +
	"Return-Receipt-To: receipt@example.com\r\n" +
	"To: Bob <bob@example.net>\r\n" +
	"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= from\r\n Anna\r\n" +
	"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <1234@app.example.org>\r\n" +
	"References: <first@example.net>\r\n <second@example.net>\r\n" +
	"\r\n" +
	"Hello Bob,\r\n\r\n.and so on\r\n"

func at(hour, minute int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, time.November, 2, hour, minute, 0, 0, time.UTC))
}

func composer() Composer {
	return Composer{ReportingMTA: "mail.example.org", From: "MAILER-DAEMON", MaxReturned: 50 << 10}
}

func code(class, subject, detail uint32) *eventv1.EnhancedCode {
	return &eventv1.EnhancedCode{Class: class, Subject: subject, Detail: detail}
}

// refused is a recipient refused by a reply at RCPT.
func refused(address string) *eventv1.RecipientResult {
	reply := &eventv1.Reply{Code: 550, Enhanced: code(5, 1, 1), Lines: []string{"No such user here"}}
	return &eventv1.RecipientResult{
		Recipient: &eventv1.Recipient{Address: address},
		State:     bounced,
		Status:    code(5, 1, 1),
		Failure:   &eventv1.Failure{Stage: eventv1.Stage_STAGE_RCPT, Reply: reply, Status: code(5, 1, 1)},
		Reply:     reply,
		RemoteMta: "mx1.example.net",
	}
}

// unreached is a recipient whose host never replied.
func unreached(address string, state eventv1.RecipientState) *eventv1.RecipientResult {
	return &eventv1.RecipientResult{
		Recipient: &eventv1.Recipient{Address: address},
		State:     state,
		Status:    code(4, 4, 2),
		Failure: &eventv1.Failure{
			Stage: eventv1.Stage_STAGE_GREETING, Status: code(4, 4, 2), Reason: "no_greeting",
			Detail: "mx1.example.net said nothing for 5m.",
		},
	}
}

// input is a failed notification for these results, with the original's header block.
func input(results ...*eventv1.RecipientResult) Input {
	in := Input{
		Outcome: &eventv1.Outcome{
			Id:             "01JBQWERTYUIOPASDFGHJKLZXC.1.2",
			MessageId:      "01JBQWERTYUIOPASDFGHJKLZXC",
			EnvelopeSender: "anna@example.org",
			Results:        results,
			AcceptedAt:     at(10, 0),
			DecidedAt:      at(10, 5),
			ExpiresAt:      timestamppb.New(at(10, 0).AsTime().Add(5 * 24 * time.Hour)),
			Attempt:        &eventv1.Attempt{Number: 2, StartedAt: at(10, 4)},
			Content: &eventv1.Content{
				Size: uint64(len(original)), MessageIdHeader: "<1234@app.example.org>",
			},
		},
		Kind:     policy.Failed,
		Original: []byte(original[:headerLen(original)]),
	}
	for i := range results {
		in.Recipients = append(in.Recipients, i)
	}
	return in
}

// whole makes in return the whole original under RET=FULL.
func whole(in Input, content string) Input {
	in.Outcome.Ret = eventv1.Ret_RET_FULL
	in.Outcome.ReturnsFullContent = true
	in.Outcome.Content.Size = uint64(len(content))
	in.Original = []byte(content)
	return in
}

func headerLen(content string) int { return len(headerBlock([]byte(content))) + len("\r\n") }

// compose makes a notification that has to be sound.
func compose(t *testing.T, in Input) (Message, parsed) {
	t.Helper()
	m, err := composer().Compose(in)
	if err != nil {
		t.Fatalf("Compose: %v", err)
	}
	return m, mustParse(t, m.Content)
}
