// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/services/dsn/internal/policy"
)

// header writes the header fields of the notification up to, but without, its Content-Type (rule D-14; RFC 3834,
// section 5). Auto-Submitted keeps other programs from answering it, References lets a mail program show it beside the
// original.
func (c Composer) header(in Input, to mailaddr.Address, original originalHeader) []byte {
	var b bytes.Buffer
	add := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	c.origin(&b, to, subject(in), in.date(), "dsn."+in.Outcome.GetId()+"."+string(in.Kind))
	id := in.Outcome.GetContent().GetMessageIdHeader()
	if !validMessageID(id) {
		id = original.messageID
	}
	if id != "" {
		add("In-Reply-To", id)
		add("References", strings.Join(append(original.references, id), "\r\n "))
	}
	add("Auto-Submitted", "auto-replied")
	add("MIME-Version", "1.0")
	return b.Bytes()
}

// origin writes the fields that say who wrote when to whom.
func (c Composer) origin(b *bytes.Buffer, to mailaddr.Address, subject string, date time.Time, id string) {
	for _, field := range [][2]string{
		{"From", "Mail Delivery System <" + c.From + "@" + c.ReportingMTA + ">"},
		{"To", "<" + to.String() + ">"},
		{"Subject", subject},
		{"Date", rfc5322(date)},
		{"Message-ID", "<" + id + "@" + c.ReportingMTA + ">"},
	} {
		fmt.Fprintf(b, "%s: %s\r\n", field[0], field[1])
	}
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
