// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime/quotedprintable"
	"strconv"
	"unicode/utf8"
)

// maxLineLength is the longest line without CRLF (RFC 5322, section 2.1.1).
const maxLineLength = 998

// Content-Transfer-Encodings (RFC 2045, section 6).
const (
	encoding7bit   = "7bit"
	encoding8bit   = "8bit"
	encodingQuoted = "quoted-printable"
	encodingBase64 = "base64"
)

// part is one body part, already encoded.
type part struct {
	contentType string
	description string
	encoding    string
	body        []byte
}

// textPart is the part for a person. It goes over every way: what is not plain ASCII is encoded.
func textPart(words string) part {
	p := part{contentType: "text/plain; charset=us-ascii", description: "Notification"}
	if !isASCII([]byte(words)) {
		p.contentType = "text/plain; charset=utf-8"
	}
	p.encoding, p.body = encode([]byte(words), false)
	return p
}

// statusPart is the part for machines. message/delivery-status is ASCII by itself (RFC 3464, section 2.1); its
// international form stands in eight bits where the way carries them (RFC 6533, section 5).
func statusPart(fields []byte, global bool) part {
	p := part{contentType: "message/delivery-status", description: "Delivery report", encoding: encoding7bit, body: fields}
	if global {
		p.contentType = "message/global-delivery-status"
		p.encoding, p.body = encode(fields, true)
	}
	return p
}

// encode chooses the plainest encoding that carries data unaltered: as it stands, quoted-printable, or base64 when
// there is something line ends of quoted-printable would alter.
func encode(data []byte, eightBit bool) (encoding string, encoded []byte) {
	ok := wellFormed(data)
	switch {
	case ok && isASCII(data):
		return encoding7bit, data
	case ok && eightBit:
		return encoding8bit, data
	case cleanLineEnds(data):
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write(data) // A bytes.Buffer does not fail.
		_ = w.Close()
		return encodingQuoted, b.Bytes()
	default:
		return encodingBase64, base64Lines(data)
	}
}

// base64Lines encodes with lines of 76 characters (RFC 2045, section 6.8).
func base64Lines(data []byte) []byte {
	text := base64.StdEncoding.AppendEncode(nil, data)
	var b bytes.Buffer
	for len(text) > 76 {
		b.Write(text[:76])
		b.WriteString("\r\n")
		text = text[76:]
	}
	b.Write(text)
	b.WriteString("\r\n")
	return b.Bytes()
}

// assemble joins header fields and parts to a multipart/report (RFC 6522, section 2).
func assemble(header []byte, parts []part) []byte {
	boundary := newBoundary(header, parts)
	var b bytes.Buffer
	b.Write(header)
	b.WriteString("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"" + boundary + "\"\r\n")
	for _, p := range parts {
		if p.encoding == encoding8bit {
			b.WriteString("Content-Transfer-Encoding: 8bit\r\n")
			break
		}
	}
	b.WriteString("\r\nThis is a delivery status notification in MIME format (RFC 3464).\r\n")
	for _, p := range parts {
		b.WriteString("\r\n--" + boundary + "\r\n")
		b.WriteString("Content-Type: " + p.contentType + "\r\n")
		b.WriteString("Content-Description: " + p.description + "\r\n")
		b.WriteString("Content-Transfer-Encoding: " + p.encoding + "\r\n\r\n")
		b.Write(p.body)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes()
}

// newBoundary makes a boundary that stands in no part. It is a hash over all that stands in the message: nobody can
// write it into the original or a reply beforehand, and it is the same when the message is made again.
func newBoundary(header []byte, parts []part) string {
	h := sha256.New()
	h.Write(header)
	for _, p := range parts {
		h.Write([]byte(p.contentType + "\x00" + strconv.Itoa(len(p.body)) + "\x00"))
		h.Write(p.body)
	}
	for seed := h.Sum(nil); ; {
		boundary := "report_" + hex.EncodeToString(seed[:16])
		if !inAny(parts, boundary) {
			return boundary
		}
		next := sha256.Sum256(seed)
		seed = next[:]
	}
}

func inAny(parts []part, boundary string) bool {
	for _, p := range parts {
		if bytes.Contains(p.body, []byte(boundary)) {
			return true
		}
	}
	return false
}

// wellFormed reports data that may stand as it is in 7bit or 8bit: lines end in CRLF and are at most 998 octets long,
// and there is no NUL (RFC 2045, sections 2.7 and 2.8).
func wellFormed(data []byte) bool {
	if !cleanLineEnds(data) || bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	for line := range bytes.SplitSeq(data, []byte("\r\n")) {
		if len(line) > maxLineLength {
			return false
		}
	}
	return true
}

// cleanLineEnds reports data without bare CR and bare LF.
func cleanLineEnds(data []byte) bool {
	for i, c := range data {
		if c == '\r' && (i+1 == len(data) || data[i+1] != '\n') || c == '\n' && (i == 0 || data[i-1] != '\r') {
			return false
		}
	}
	return true
}

func isASCII(data []byte) bool {
	for _, c := range data {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func validUTF8(data []byte) bool { return utf8.Valid(data) }
