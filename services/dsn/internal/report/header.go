// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"fmt"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

// header writes the header fields of the notification up to, but without, its Content-Type (rule D-14; RFC 3834,
// section 5). Auto-Submitted keeps other programs from answering it, References lets a mail program show it beside the
// original.
func (c Composer) header(in Input, to mailaddr.Address, original originalHeader) []byte {
	var b bytes.Buffer
	add := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	add("From", "Mail Delivery System <"+c.From+"@"+c.ReportingMTA+">")
	add("To", "<"+to.String()+">")
	add("Subject", subject(in))
	add("Date", rfc5322(in.date()))
	add("Message-ID", "<dsn."+in.Outcome.GetId()+"."+string(in.Kind)+"@"+c.ReportingMTA+">")
	id := in.Outcome.GetContent().GetMessageIdHeader()
	if !validMessageID(id) {
		id = original.messageID
	}
	if id != "" {
		add("In-Reply-To", id)
		b.WriteString("References:")
		for _, reference := range append(original.references, id) {
			b.WriteString("\r\n " + reference)
		}
		b.WriteString("\r\n")
	}
	add("Auto-Submitted", "auto-replied")
	add("MIME-Version", "1.0")
	return b.Bytes()
}

// subject holds no word of the original: it would be remote text in a header field.
func subject(in Input) string {
	switch in.Kind {
	case policy.Delayed:
		return "Delivery delayed: your message is still being tried"
	case policy.Relayed:
		return "Message handed over: no further notices"
	case policy.Delivered:
		return "Message delivered"
	default:
		return "Delivery failed: your message could not be delivered"
	}
}
