// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// TestL08_ALoopNotifiesASenderAndNotTheNullSender: a loop found on the way is a failure like another.
func TestL08_ALoopNotifiesASenderAndNotTheNullSender(t *testing.T) {
	for _, reason := range []smtpreply.Reason{smtpreply.ReasonMXSelf, smtpreply.ReasonHops, smtpreply.ReasonOwnTrace, smtpreply.ReasonFingerprint} {
		for sender, want := range map[string]Reason{"": ReasonNullSender, "anna@example.org": ReasonDue} {
			r := result(bounced)
			r.Failure = &eventv1.Failure{Reason: string(reason), Status: &eventv1.EnhancedCode{Class: 5, Subject: 4, Detail: 6}}
			o := outcome(r)
			o.EnvelopeSender = sender
			if d := only(t, o); d.Reason != want || d.Kind != Failed {
				t.Errorf("%s, sender %q: %s %q, want failed %q", reason, sender, d.Kind, d.Reason, want)
			}
		}
	}
}
