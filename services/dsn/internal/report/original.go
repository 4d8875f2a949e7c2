// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"mime"
	"strings"

	"github.com/postrider/postrider/kit/smtpreply"
)

// Bounds of what is taken from the header block of the original.
const (
	// maxReturnedHeader is the longest header block, in octets, that is returned uncut.
	maxReturnedHeader = 64 << 10
	// maxMessageID is the longest Message-ID that is referred to.
	maxMessageID = 250
	// maxReferences is how many ids of a References field are kept: the first and the last ones.
	maxReferences = 20
	// maxField is the longest field value, in octets, that is read.
	maxField = 16 << 10
)

// originalHeader is what a notification needs to know of the original's header block.
type originalHeader struct {
	subject    string
	date       string
	messageID  string
	references []string
}

// readHeader reads the header block of an original. It reads whatever stands there, well-formed or not, and returns
// only values that fit where they are used: cleaned text, and ids that are ids. Of fields that come twice the first
// counts.
func readHeader(original []byte) originalHeader {
	var h originalHeader
	var seenReferences bool
	for block := headerBlock(original); len(block) > 0; {
		field := block[:fieldEnd(block)]
		block = block[len(field):]
		name, value, ok := splitField(field)
		if !ok {
			continue
		}
		switch {
		case strings.EqualFold(name, "Subject") && h.subject == "":
			h.subject = decodeWords(value)
		case strings.EqualFold(name, "Date") && h.date == "":
			h.date = smtpreply.Clean(value)
		case strings.EqualFold(name, "Message-ID") && h.messageID == "":
			if validMessageID(value) {
				h.messageID = value
			}
		case strings.EqualFold(name, "References") && !seenReferences:
			seenReferences = true
			h.references = messageIDs(value)
		}
	}
	return h
}

// headerBlock returns the lines before the first empty one, or all when there is none.
func headerBlock(content []byte) []byte {
	for at := 0; at < len(content); {
		line := content[at:]
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line = line[:n+1]
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return content[:at]
		}
		at += len(line)
	}
	return content
}

// fieldEnd returns the length of the first field of a block with its folded lines (RFC 5322, section 2.2.3). It is
// never 0 for a block that is not empty.
func fieldEnd(block []byte) int {
	for at := 0; ; {
		n := bytes.IndexByte(block[at:], '\n')
		if n < 0 {
			return len(block)
		}
		at += n + 1
		if at == len(block) || block[at] != ' ' && block[at] != '\t' {
			return at
		}
	}
}

// splitField splits a field and unfolds its value.
func splitField(field []byte) (name, value string, ok bool) {
	head, rest, ok := bytes.Cut(field, []byte(":"))
	if !ok || len(head) > 100 {
		return "", "", false
	}
	if len(rest) > maxField {
		rest = rest[:maxField]
	}
	unfolded := strings.NewReplacer("\r\n", "", "\n", "", "\r", "").Replace(string(rest))
	return string(bytes.TrimRight(head, " \t")), strings.TrimSpace(unfolded), true
}

// decodeWords decodes encoded words (RFC 2047) and cleans the result; what cannot be decoded stays as it is.
func decodeWords(value string) string {
	decoded, err := new(mime.WordDecoder).DecodeHeader(value)
	if err != nil {
		decoded = value
	}
	return smtpreply.Clean(decoded)
}

// messageIDs returns the ids of a References field.
func messageIDs(value string) []string {
	var ids []string
	for token := range strings.FieldsSeq(value) {
		if validMessageID(token) {
			ids = append(ids, token)
		}
	}
	if n := len(ids); n > maxReferences {
		ids = append(ids[:1:1], ids[n-maxReferences+1:]...)
	}
	return ids
}

// validMessageID reports a value that may stand in In-Reply-To and References: printable ASCII in angle brackets with
// one part on each side of an "@" (RFC 5322, section 3.6.4).
func validMessageID(id string) bool {
	if len(id) < len("<a@b>") || len(id) > maxMessageID || id[0] != '<' || id[len(id)-1] != '>' {
		return false
	}
	inner := id[1 : len(id)-1]
	for i := range len(inner) {
		if c := inner[i]; c <= ' ' || c > '~' || c == '<' || c == '>' {
			return false
		}
	}
	at := strings.IndexByte(inner, '@')
	return at > 0 && at < len(inner)-1
}

// cutHeader returns a header block of at most limit octets, cut between two fields.
func cutHeader(block []byte, limit int) (cut []byte, whole bool) {
	if len(block) <= limit {
		return block, true
	}
	at := 0
	for at < len(block) {
		n := fieldEnd(block[at:])
		if at+n > limit {
			break
		}
		at += n
	}
	return block[:at], false
}
