// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/cmd/postrider/internal/timeline"
	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/smtptest"
)

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// verify holds what was reported and what the hosts saw against what the demo promises.
func verify(out io.Writer, w *world, m *gatewayv1.Message, sent []byte) error {
	if err := verifyWay(m); err != nil {
		return err
	}
	if n := w.silent.Counts(); n.Accepted != 1 || n.Open != 0 {
		return fmt.Errorf("the silent host saw %d connections, %d still open; want 1 and 0", n.Accepted, n.Open)
	}
	messages := w.good.Messages()
	if len(messages) != 1 {
		return fmt.Errorf("the third host has %d messages, want 1", len(messages))
	}
	return verifyContent(out, messages[0], sent)
}

// verifyWay checks that the hosts were tried in order and left for the right reasons.
func verifyWay(m *gatewayv1.Message) error {
	if len(m.GetRecipients()) != 1 || m.GetRecipients()[0].GetState() != eventv1.RecipientState_RECIPIENT_STATE_DELIVERED {
		return errors.New("the message was not delivered")
	}
	attempts := m.GetRecipients()[0].GetAttempts()
	if len(attempts) != 1 || len(attempts[0].GetHosts()) != 3 {
		return fmt.Errorf("want one attempt over three hosts, got %v", attempts)
	}
	hosts := attempts[0].GetHosts()
	if got := hosts[0].GetFailure().GetReason(); got != string(smtpreply.ReasonNoGreeting) {
		return fmt.Errorf("the silent host was left for %q", got)
	}
	if f := hosts[1].GetFailure(); f == nil || f.GetStage() != eventv1.Stage_STAGE_CONNECT {
		return fmt.Errorf("the refusing host was left for %q", timeline.FailureLine(f))
	}
	if f := hosts[2].GetFailure(); f != nil {
		return fmt.Errorf("the third host failed: %s", timeline.FailureLine(f))
	}
	return nil
}

// verifyContent compares digests of what was sent and what arrived, without the header fields put in front.
func verifyContent(out io.Writer, got smtptest.Message, sent []byte) error {
	front := len(got.Data) - len(sent)
	if front <= 0 {
		return fmt.Errorf("the third host received %d bytes of %d", len(got.Data), len(sent))
	}
	for _, line := range strings.SplitAfter(string(got.Data[:front]), "\r\n") {
		folded := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		if line != "" && !folded && !strings.HasPrefix(line, "Received:") && !strings.HasPrefix(line, "Postrider-Trace:") {
			return fmt.Errorf("something else than trace fields was put in front: %q", line)
		}
	}
	before, after := sha256.Sum256(sent), sha256.Sum256(got.Data[front:])
	fmt.Fprintf(out, "sha256 sent      %x\nsha256 received  %x  (at mx3, behind %d bytes of trace header fields)\n", before, after, front)
	if before != after {
		return errors.New("the content changed on its way")
	}
	return nil
}
