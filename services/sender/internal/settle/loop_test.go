// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"testing"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// TestL08_ALoopOfTheNullSenderIsQuiet: nobody looks whether a notification is due for it.
func TestL08_ALoopOfTheNullSenderIsQuiet(t *testing.T) {
	for sender, want := range map[string]bus.OutcomeKind{"": bus.Quiet, "a@example.org": bus.Notice} {
		o := outcome(mail("a"), bounced)
		o.EnvelopeSender = sender
		o.Results[0].Failure = &eventv1.Failure{Reason: string(smtpreply.ReasonMXSelf)}
		if got := Kind(o); got != want {
			t.Errorf("sender %q: %s, want %s", sender, got, want)
		}
	}
}
