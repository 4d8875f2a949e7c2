// SPDX-License-Identifier: Apache-2.0

package text

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

// reasons reads every reason that kit/smtpreply knows from its source, so that none is forgotten here.
func reasons(t *testing.T) []string {
	t.Helper()
	file := filepath.Join("..", "..", "..", "..", "kit", "smtpreply", "reason.go")
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
			word, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, word)
		}
		return true
	})
	if len(found) < 40 {
		t.Fatalf("%d reasons found in %s", len(found), file)
	}
	return found
}

func TestEveryReasonHasWords(t *testing.T) {
	// expired stands for a cause that is told by the failure before it; notify_throttled is no failure of delivery.
	without := map[smtpreply.Reason]bool{smtpreply.ReasonExpired: true, smtpreply.ReasonNotifyThrottled: true}
	for _, word := range reasons(t) {
		if without[smtpreply.Reason(word)] {
			continue
		}
		b := explainResult(input(policy.Failed, failed(word)), failed(word))
		if strings.Contains(b.happened, "could not be handed over") || b.advice == "" {
			t.Errorf("reason %s: %q, advice %q", word, b.happened, b.advice)
		}
		if strings.ContainsAny(b.happened+b.advice, "{}") {
			t.Errorf("reason %s has an unfilled place: %q %q", word, b.happened, b.advice)
		}
	}
}

// TestRepliesAreExplained holds what remote hosts really say against what a person needs to know.
func TestRepliesAreExplained(t *testing.T) {
	tests := []struct {
		stage    eventv1.Stage
		code     uint32
		enhanced string
		want     string
	}{
		{eventv1.Stage_STAGE_RCPT, 550, "5.1.1", "knows no mailbox"},
		{eventv1.Stage_STAGE_RCPT, 550, "5.1.2", "no domain named"},
		{eventv1.Stage_STAGE_RCPT, 553, "5.1.3", "not a valid address"},
		{eventv1.Stage_STAGE_RCPT, 550, "5.1.4", "more than one mailbox"},
		{eventv1.Stage_STAGE_RCPT, 551, "5.1.6", "has moved"},
		{eventv1.Stage_STAGE_MAIL, 550, "5.1.8", "your own address"},
		{eventv1.Stage_STAGE_RCPT, 556, "5.1.10", "takes no mail at all"},
		{eventv1.Stage_STAGE_RCPT, 550, "5.2.1", "switched off"},
		{eventv1.Stage_STAGE_RCPT, 552, "5.2.2", "mailbox is full"},
		{eventv1.Stage_STAGE_RCPT, 552, "5.2.3", "larger than this mailbox"},
		{eventv1.Stage_STAGE_RCPT, 550, "5.2.4", "mailing list"},
		{eventv1.Stage_STAGE_RCPT, 452, "4.3.1", "no room"},
		{eventv1.Stage_STAGE_GREETING, 421, "4.3.2", "no mail at present"},
		{eventv1.Stage_STAGE_MAIL, 552, "5.3.4", "larger than the mail system"},
		{eventv1.Stage_STAGE_RCPT, 550, "5.4.1", "refused this recipient"},
		{eventv1.Stage_STAGE_RCPT, 451, "4.4.3", "(DNS) gave no usable answer"},
		{eventv1.Stage_STAGE_DOT, 554, "5.4.6", "in a circle"},
		{eventv1.Stage_STAGE_DOT, 554, "5.6.0", "looked at the message and refused it"},
		{eventv1.Stage_STAGE_DOT, 554, "5.6.1", "in a form"},
		{eventv1.Stage_STAGE_RCPT, 550, "5.6.7", "has letters"},
		{eventv1.Stage_STAGE_DOT, 550, "5.7.1", "under its rules"},
		{eventv1.Stage_STAGE_RCPT, 550, "5.7.2", "mailing list to which you may not send"},
		{eventv1.Stage_STAGE_DOT, 550, "5.7.26", "really comes from your domain"},
		{eventv1.Stage_STAGE_MAIL, 550, "5.7.30", "protected connections"},
		{eventv1.Stage_STAGE_RCPT, 451, "4.7.1", "for the time being"},
		{eventv1.Stage_STAGE_RCPT, 550, "", "refused this recipient"},
		{eventv1.Stage_STAGE_RCPT, 552, "", "mailbox is full"},
		{eventv1.Stage_STAGE_MAIL, 550, "", "refused mail from your address"},
		{eventv1.Stage_STAGE_DATA, 554, "", "looked at the message and refused it"},
		{eventv1.Stage_STAGE_CONTENT, 552, "", "larger than the mail system"},
		{eventv1.Stage_STAGE_DOT, 554, "", "looked at the message and refused it"},
		{eventv1.Stage_STAGE_EHLO, 550, "", "refused the message"},
		{eventv1.Stage_STAGE_RCPT, 450, "", "asked to try again later"},
	}
	for _, tt := range tests {
		result := replied(tt.stage, tt.code, tt.enhanced, "text")
		if got := plain(input(policy.Failed, result)); !strings.Contains(got, tt.want) {
			t.Errorf("%d %s at %v: %q is not said in: %s", tt.code, tt.enhanced, tt.stage, tt.want, got)
		}
	}
}

func TestStagesWithoutReplyAreExplained(t *testing.T) {
	for number, name := range eventv1.Stage_name {
		stage := eventv1.Stage(number)
		result := failed("")
		result.Failure.Stage = stage
		got := explainResult(input(policy.Failed, result), result).happened
		general := strings.Contains(got, "could not be handed over")
		switch stage {
		case eventv1.Stage_STAGE_UNSPECIFIED, eventv1.Stage_STAGE_LOCAL, eventv1.Stage_STAGE_QUIT:
			if !general {
				t.Errorf("%s: %q", name, got)
			}
		default:
			if general {
				t.Errorf("%s has no words of its own", name)
			}
		}
	}
}

func TestNothingKnownIsStillASentence(t *testing.T) {
	for name, result := range map[string]*eventv1.RecipientResult{
		"empty":      {},
		"no failure": {Recipient: &eventv1.Recipient{Address: "bob@example.net"}, State: bounced},
		"no domain":  {Recipient: &eventv1.Recipient{Address: "bob"}, State: bounced},
		"new reason": failed("a_reason_of_tomorrow"),
	} {
		if got := plain(input(policy.Failed, result)); !strings.Contains(got, "could not be handed over to the mail system of") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestExpiredIsNotExplainedByItsOwnStatus(t *testing.T) {
	result := &eventv1.RecipientResult{
		Recipient: &eventv1.Recipient{Address: "bob@example.net"}, State: expired,
		Status:  &eventv1.EnhancedCode{Class: 4, Subject: 4, Detail: 7},
		Failure: &eventv1.Failure{Status: &eventv1.EnhancedCode{Class: 4, Subject: 3, Detail: 1}},
	}
	mustSay(t, input(policy.Failed, result), "has no room for further mail")
}
