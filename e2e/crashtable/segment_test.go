// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// TestQ09_HalfOfASegmentSettled: a segment holds the record of five and one of a second domain. One of the two is settled
// when the process is killed, the other is in DATA. After the start the first is not attempted, the second is.
func TestQ09_HalfOfASegmentSettled(t *testing.T) {
	for _, settled := range []string{"the five", "the other"} {
		t.Run(settled, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.to = append(w.to, other)
			second := newRemote(t, fmt.Sprintf("127.0.0.2:%d", w.remote.host.Addr().Port()))
			held := second
			if settled == "the other" {
				held = w.remote
			}
			inData, dead := make(chan struct{}), make(chan struct{})
			held.onData = func() {
				close(inData)
				<-dead
			}
			p := w.launch("")
			if !w.submit() {
				t.Fatal("the records are not accepted")
			}
			select {
			case <-inData:
			case <-time.After(patience):
				t.Fatalf("no DATA; the log:\n%s", p.Log())
			}
			// What the view says is stored.
			suite.Await(w.ctx, t, w.suite.Mail(t), w.onlyID(), "half settled", func(m *gatewayv1.Message) bool {
				for _, r := range m.GetRecipients() {
					final := r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_DELIVERED ||
						r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_BOUNCED
					if wanted := (r.GetAddress() == other) == (settled == "the other"); wanted && !final {
						return false
					}
				}
				return len(m.GetRecipients()) == len(w.to)
			})
			p.Kill(t)
			close(dead)
			m := w.finish()
			check(t, w, m, row{})
			if n := second.count(other); n != 1 {
				t.Errorf("%s was delivered %d times", other, n)
			}
			if n := len(second.host.Messages()); n != 1 {
				t.Errorf("the second host has %d messages", n)
			}
		})
	}
}
