// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"strings"
	"time"

	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
)

// received returns what makes our Received field of a message that came by this session (RFC 5321, section 4.4). There
// is no for clause, since the content is the same for all recipients.
func (ss *session) received(tx *transaction) func(messageID string, at time.Time) []byte {
	from := ss.helo
	if ss.peer.IsValid() {
		literal := ss.peer.String()
		if ss.peer.Is6() {
			literal = "IPv6:" + literal
		}
		from += " ([" + literal + "])"
	}
	protocol := ss.protocol(tx)
	return func(messageID string, at time.Time) []byte {
		return []byte("Received: from " + from + "\r\n\tby " + ss.s.o.Node + " (Postrider) with " + protocol +
			" id " + messageID + ";\r\n\t" + at.Format(loopdetect.DateLayout) + "\r\n")
	}
}

// protocol is the with clause (RFC 3848; RFC 6531, section 4.3).
func (ss *session) protocol(tx *transaction) string {
	if !ss.extended {
		return "SMTP"
	}
	var b strings.Builder
	if tx.utf8 {
		b.WriteString("UTF8SMTP")
	} else {
		b.WriteString("ESMTP")
	}
	if ss.tls {
		b.WriteByte('S')
	}
	if ss.caller.Name != "" {
		b.WriteByte('A')
	}
	return b.String()
}
