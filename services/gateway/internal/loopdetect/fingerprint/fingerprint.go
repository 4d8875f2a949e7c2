// SPDX-License-Identifier: Apache-2.0

package fingerprint

import (
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"slices"
	"strings"
)

const (
	// maxText is how much of the text counts, in bytes behind the leaving out, so that a digit more or less in front of
	// it does not move its end.
	maxText = 4 << 10
	// BodyBytes is how much of an ordinary message's body is looked at.
	BodyBytes = 6 << 10
	// ResponseBytes is how much of a response's body is looked at, whose report may stand behind the text.
	ResponseBytes = 32 << 10
	// maxIDs is how many message ids of the header are known in the text.
	maxIDs = 16
)

// Print is what equal messages have in common.
type Print [16]byte

// String returns the print as 32 hexadecimal digits.
func (p Print) String() string { return hex.EncodeToString(p[:]) }

// Message is what is looked at. The strings are unfolded field values, "" for a field that is missing.
type Message struct {
	// NullSender says that the envelope sender is empty.
	NullSender bool
	// Recipients are the addresses as mailaddr.Address.Key gives them.
	Recipients []string
	// From, Subject, ContentType, Encoding (Content-Transfer-Encoding) and AutoSubmitted are header fields.
	From, Subject, ContentType, Encoding, AutoSubmitted string
	// IDs are the values of Message-ID, In-Reply-To and References: where the text of a response names one, it does not
	// count.
	IDs []string
	// Handed says that the message was handed on, not written by the caller: it came by SMTP, or carries a Received field
	// or a trace header.
	Handed bool
	// Body is the beginning of the body.
	Body []byte
}

// Response reports whether the message was sent by a machine because another message came, and came from elsewhere
// (L-07): a null sender, "Auto-Submitted: auto-replied" (RFC 3834, section 5.1), or a multipart/report (RFC 6522).
func (m *Message) Response() bool {
	return m.Handed && (m.NullSender || autoReplied(m.AutoSubmitted) || isReport(m.ContentType))
}

func autoReplied(value string) bool {
	word := value
	if at := strings.IndexAny(value, ";("); at >= 0 { // parameters, or a comment
		word = value[:at]
	}
	return strings.EqualFold(strings.TrimSpace(word), "auto-replied")
}

func isReport(contentType string) bool { return hasType(contentType, "multipart/report") }

// hasType reports whether a Content-Type begins with a type, or with a part of one that ends in "/".
func hasType(value, prefix string) bool {
	return len(value) >= len(prefix) && strings.EqualFold(value[:len(prefix)], prefix)
}

// Maker makes prints under a key, so that what lies in the shared store tells nothing to those without it. Prints of
// different keys are never equal. It is safe for concurrent use.
type Maker struct{ key [sha256.Size]byte }

// NewMaker returns a Maker.
func NewMaker(key [sha256.Size]byte) *Maker {
	return &Maker{key: sha256.Sum256(append([]byte("fingerprint\x00"), key[:]...))}
}

// Of returns the print of a message.
func (mk *Maker) Of(m *Message) Print {
	w := writer{ids: identifiers(m.IDs), out: make([]byte, 0, sha256.Size+512+maxText)}
	w.out = append(w.out, mk.key[:]...)
	if m.NullSender {
		w.out = append(w.out, 1)
	}
	recipients := m.Recipients
	if len(recipients) > 1 {
		recipients = slices.Sorted(slices.Values(recipients))
	}
	for _, r := range recipients {
		w.out = append(append(w.out, 0), r...)
	}
	w.part(decodeWords(m.From))
	w.part(withoutPrefixes(decodeWords(m.Subject)))
	text, fields := readBody(m.ContentType, m.Encoding, m.Body)
	w.part(text)
	for _, f := range fields {
		w.out = append(append(w.out, 2), f...)
	}
	sum := sha256.Sum256(w.out)
	return Print(sum[:len(Print{})])
}

// decodeWords returns a field value with its encoded words decoded (RFC 2047); one in an unknown charset stays as it is.
func decodeWords(value string) []byte {
	if !strings.Contains(value, "=?") {
		return []byte(value)
	}
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		return []byte(value)
	}
	return []byte(decoded)
}

// withoutPrefixes cuts what replying and forwarding programs put in front of a subject, one for each time round.
func withoutPrefixes(subject []byte) []byte {
	for {
		subject = trimSpace(subject)
		at := slices.Index(subject, ':')
		if at < 2 || at > 4 {
			return subject
		}
		switch strings.ToLower(string(subject[:at])) {
		case "re", "fw", "fwd", "aw", "wg", "sv", "vs", "antw", "tr", "rv", "auto":
			subject = subject[at+1:]
		default:
			return subject
		}
	}
}

// identifiers returns the message ids in field values without their angle brackets (RFC 5322, section 3.6.4).
func identifiers(values []string) (ids []string) {
	for _, value := range values {
		for word := range strings.FieldsSeq(value) {
			if id := strings.Trim(word, "<>,"); id != "" && len(ids) < maxIDs {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
