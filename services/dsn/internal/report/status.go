// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/text"
)

// maxDiagnostic is the longest reply in Diagnostic-Code, in octets (rule D-12).
const maxDiagnostic = 1000

// deliveryStatus writes the part for machines (RFC 3464, section 2; RFC 6533, section 3): one group for the message and
// one for each recipient.
func (c Composer) deliveryStatus(in Input, global bool) []byte {
	w := &fieldWriter{utf8: global}
	w.field("Original-Envelope-Id", in.Outcome.GetEnvid())
	w.field("Reporting-MTA", "dns; "+c.ReportingMTA)
	w.date("Arrival-Date", in.Outcome.GetAcceptedAt())
	for _, i := range in.Recipients {
		w.group()
		w.recipient(in, in.Outcome.GetResults()[i])
	}
	return w.b.Bytes()
}

// recipient writes the fields of one recipient in the order of RFC 3464, section 2.3.
func (w *fieldWriter) recipient(in Input, result *eventv1.RecipientResult) {
	recipient := result.GetRecipient()
	w.field("Original-Recipient", originalRecipient(recipient.GetOrcptType(), recipient.GetOrcptAddress(), w.utf8))
	w.field("Final-Recipient", finalRecipient(recipient.GetAddress(), w.utf8))
	w.field("Action", string(in.Kind))
	w.field("Status", Status(in.Kind, result).String())
	if reply := text.Reply(result); reply.Code != 0 {
		if host := result.GetRemoteMta(); host != "" && !strings.ContainsAny(host, " \t\r\n") {
			w.field("Remote-MTA", "dns; "+host)
		}
		w.folded("Diagnostic-Code", "smtp; "+w.diagnostic(reply))
	}
	w.date("Last-Attempt-Date", in.Outcome.GetAttempt().GetStartedAt())
	if in.Kind == policy.Delayed {
		w.date("Will-Retry-Until", in.Outcome.GetExpiresAt())
	}
}

// date writes a date field; a time that is not known gives none.
func (w *fieldWriter) date(name string, at *timestamppb.Timestamp) {
	if at.IsValid() && at.GetSeconds() != 0 {
		w.field(name, rfc5322(at.AsTime()))
	}
}

// diagnostic is a reply as the remote wrote it, its lines behind one another (RFC 3461, section 9.2), cut at 1,000
// octets.
func (w *fieldWriter) diagnostic(reply smtpreply.Reply) string {
	enhanced := reply.Enhanced.String()
	if enhanced != "" {
		enhanced += " "
	}
	lines := reply.Lines
	if len(lines) == 0 {
		lines = []string{""}
	}
	var b strings.Builder
	for i, line := range lines {
		mark := "-"
		if i == len(lines)-1 {
			mark = " "
		}
		b.WriteString(strconv.Itoa(reply.Code) + mark + enhanced + w.clean(line) + " ")
		if b.Len() > maxDiagnostic {
			break
		}
	}
	return prefixOctets(strings.TrimRight(b.String(), " "), maxDiagnostic)
}

// Status returns the status of a recipient, with a class that fits the kind (rule D-11; RFC 3464, section 2.3.4): 5 for
// failed, but 4.4.7 when the time was over, 4 for delayed, 2 for relayed and delivered. A code of another class gets
// the fitting one, and a missing one becomes x.0.0.
func Status(kind policy.Kind, result *eventv1.RecipientResult) smtpreply.EnhancedCode {
	code := smtpreply.EnhancedFromProto(result.GetStatus())
	expired := smtpreply.Code(4, 4, 7)
	switch kind {
	case policy.Failed:
		if result.GetState() == eventv1.RecipientState_RECIPIENT_STATE_EXPIRED || code == expired {
			return expired
		}
		return ofClass(5, code)
	case policy.Delayed:
		return ofClass(4, code)
	default:
		if code.Class != 2 {
			return smtpreply.Code(2, 0, 0)
		}
		return code
	}
}

func ofClass(class int, code smtpreply.EnhancedCode) smtpreply.EnhancedCode {
	if code.IsZero() || code.Class == 2 {
		return smtpreply.Code(class, 0, 0)
	}
	return code.WithClass(class)
}
