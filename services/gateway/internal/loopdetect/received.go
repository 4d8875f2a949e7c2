// SPDX-License-Identifier: Apache-2.0

package loopdetect

import "time"

// DateLayout is the date-time of RFC 5322, section 3.3.
const DateLayout = "Mon, 02 Jan 2006 15:04:05 -0700"

// Received returns our Received field for a message handed in over gRPC, with its CRLF (L-02; RFC 5321, section 4.4).
// There is no from clause, since there was no client with a name, and no for clause, since the content is the same for
// all recipients.
func Received(node, messageID string, at time.Time) []byte {
	return []byte("Received: by " + node + " (Postrider, gRPC) id " + messageID + ";\r\n\t" + at.Format(DateLayout) + "\r\n")
}
