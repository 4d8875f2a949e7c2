// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"time"

	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
)

// Door is by which way a message came. The zero value is a call.
type Door struct {
	// SMTP says that it came by the SMTP listener: bare CR and bare LF are refused whatever gateway.bare_newlines says
	// (G-08).
	SMTP bool
	// Relayed says that a relay handed it in, not its submitter: some faults of its header are not ours to refuse (G-07).
	Relayed bool
	// Received returns our Received field with its CRLF (RFC 5321, section 4.4). Nil is that of a call.
	Received func(messageID string, at time.Time) []byte
}

// rules returns the limits of a content that comes this way.
func (d Door) rules(r content.Rules) content.Rules {
	if d.SMTP {
		r.Newlines = content.Reject
	}
	r.Relayed = d.Relayed
	return r
}

func (d Door) received(node, messageID string, at time.Time) []byte {
	if d.Received != nil {
		return d.Received(messageID, at)
	}
	return loopdetect.Received(node, messageID, at)
}
