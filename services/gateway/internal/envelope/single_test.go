// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"testing"
	"time"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// TestStepsSayWhatCheckSays: what MAIL and RCPT refuse alone is what the whole envelope is refused for.
func TestStepsSayWhatCheckSays(t *testing.T) {
	shop := rpc.Caller{Name: "shop", Rights: []rpc.Right{rpc.RightSubmit}}
	good := &gatewayv1.Recipient{Address: "b@example.com"}
	for name, in := range map[string]*gatewayv1.Envelope{
		"good":      {Sender: "a@example.org", Recipients: []*gatewayv1.Recipient{good}},
		"null":      {Recipients: []*gatewayv1.Recipient{good}},
		"sender":    {Sender: "a b", Recipients: []*gatewayv1.Recipient{good}},
		"envid":     {Sender: "a@example.org", Envid: "a\nb", Recipients: []*gatewayv1.Recipient{good}},
		"recipient": {Sender: "a@example.org", Recipients: []*gatewayv1.Recipient{{Address: "b"}}},
		"orcpt":     {Sender: "a@example.org", Recipients: []*gatewayv1.Recipient{{Address: "b@example.com", Orcpt: "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, whole := Check(in, shop, time.Now())
			steps := CheckSender(in, shop, time.Now())
			if steps == nil {
				steps = CheckRecipient(in.GetRecipients()[0])
			}
			want, got := rpc.FromError(whole), rpc.FromError(steps)
			if (want == nil) != (got == nil) {
				t.Fatalf("in steps: %v; whole: %v", got, want)
			}
			if want != nil && (got.Reason != want.Reason || got.Enhanced != want.Enhanced || got.Fields[0] != want.Fields[0]) {
				t.Errorf("in steps: %v %v; whole: %v %v", got, got.Fields, want, want.Fields)
			}
		})
	}
}
