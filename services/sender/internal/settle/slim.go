// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	// fitting is the size up to which outcomes and records are stored as they are. A hundred recipients with a reply
	// of 64 KiB each would not fit into a segment.
	fitting = 512 << 10
	// replyText is what is kept of a reply otherwise: as much as a notification would return of it (D-12).
	replyText = 1000
)

// Slim shortens replies and drops transcripts of an outcome that would be too large to store. It leaves an ordinary one
// as it is. It must be called before a record is made from the outcome.
func Slim(o *eventv1.Outcome) {
	if proto.Size(o) <= fitting {
		return
	}
	for _, r := range o.GetResults() {
		slimReply(r.GetReply())
		slimReply(r.GetFailure().GetReply())
		slimReply(r.GetRecipient().GetLastFailure().GetReply())
	}
	slimAttempt(o.GetAttempt())
}

// SlimHistory does the same for the attempts a record remembers.
func SlimHistory(m *eventv1.QueuedMail) {
	if proto.Size(m) <= fitting {
		return
	}
	for _, r := range m.GetEnvelope().GetRecipients() {
		slimReply(r.GetLastFailure().GetReply())
	}
	for _, attempts := range [][]*eventv1.Attempt{m.GetHistory().GetFirst(), m.GetHistory().GetLast()} {
		for _, a := range attempts {
			slimAttempt(a)
		}
	}
}

func slimAttempt(a *eventv1.Attempt) {
	slimReply(a.GetFailure().GetReply())
	for _, h := range a.GetHosts() {
		h.Transcript = nil
		slimReply(h.GetFailure().GetReply())
	}
}

func slimReply(r *eventv1.Reply) {
	left := replyText
	for i, line := range r.GetLines() {
		if len(line) > left {
			r.Lines = append(r.Lines[:i:i], validPrefix(line, left))
			return
		}
		left -= len(line)
	}
}

// validPrefix returns the first n bytes of text, fewer where that would cut a character.
func validPrefix(text string, n int) string {
	for n > 0 && n < len(text) && text[n]&0xC0 == 0x80 {
		n--
	}
	return text[:n]
}
