// SPDX-License-Identifier: Apache-2.0

package fingerprint

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
)

const (
	// maxDepth is how deep a multipart may lie in another, maxFields how many fields of a report count.
	maxDepth  = 5
	maxFields = 64
	// maxPartLine bounds a line of a part's own header.
	maxPartLine = 1000
)

// readBody returns the decoded text of a body, which of a multipart is its first part that is no multipart, and of a
// report the fields Final-Recipient and Action as they stand.
func readBody(contentType, encoding string, body []byte) (text []byte, fields [][]byte) {
	if !hasType(contentType, "multipart/") {
		return decode(encoding, body), nil
	}
	text, known := firstPart(contentType, body, 0)
	if !known {
		text = body
	}
	if isReport(contentType) {
		fields = reportFields(body)
	}
	return text, fields
}

// firstPart returns the decoded content of the first leaf of a multipart; known is false when it is none that can be
// read.
func firstPart(contentType string, body []byte, depth int) (text []byte, known bool) {
	_, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil || boundary == "" || depth == maxDepth {
		return nil, false
	}
	_, rest, found := cutLine(body, "--"+boundary)
	if !found {
		return nil, false
	}
	if part, _, ended := cutLine(rest, "--"+boundary); ended {
		rest = part
	}
	innerType, innerEncoding, content := partHeader(rest)
	if hasType(innerType, "multipart/") {
		if text, known := firstPart(innerType, content, depth+1); known {
			return text, true
		}
	}
	return decode(innerEncoding, content), true
}

// cutLine cuts a body at the first line that begins with a text.
func cutLine(body []byte, line string) (before, after []byte, found bool) {
	for at := 0; at < len(body); {
		next := bytes.IndexByte(body[at:], '\n')
		end := len(body)
		if next >= 0 {
			end = at + next + 1
		}
		if bytes.HasPrefix(body[at:end], []byte(line)) {
			return body[:at], body[end:], true
		}
		at = end
	}
	return body, nil, false
}

// partHeader reads a part's own header.
func partHeader(part []byte) (contentType, encoding string, content []byte) {
	var value *string
	for len(part) > 0 {
		line := part
		if end := bytes.IndexByte(part, '\n'); end >= 0 {
			line, part = part[:end], part[end+1:]
		} else {
			part = nil
		}
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 {
			return contentType, encoding, part
		}
		if line[0] == ' ' || line[0] == '\t' {
			if value != nil && len(*value) < maxPartLine {
				*value += string(line)
			}
			continue
		}
		name, text, _ := bytes.Cut(line, []byte{':'})
		switch {
		case bytes.EqualFold(bytes.TrimSpace(name), []byte("Content-Type")):
			value = &contentType
		case bytes.EqualFold(bytes.TrimSpace(name), []byte("Content-Transfer-Encoding")):
			value = &encoding
		default:
			value = nil
			continue
		}
		*value = strings.TrimSpace(string(text))
	}
	return contentType, encoding, nil
}

// reportFields returns the lines of a report that tell one recipient from another (RFC 3464, section 2.3).
func reportFields(body []byte) (fields [][]byte) {
	for line := range bytes.Lines(body) {
		for _, name := range []string{"Final-Recipient:", "Action:"} {
			if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
				fields = append(fields, bytes.TrimSpace(line))
			}
		}
		if len(fields) == maxFields {
			break
		}
	}
	return fields
}

// decode undoes a content transfer encoding (RFC 2045, section 6), as far as the text goes.
func decode(encoding string, text []byte) []byte {
	var r io.Reader
	switch {
	case strings.EqualFold(encoding, "base64"):
		r = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text))
	case strings.EqualFold(encoding, "quoted-printable"):
		r = quotedprintable.NewReader(bytes.NewReader(text))
	default:
		return text
	}
	decoded, err := io.ReadAll(r)
	if err != nil && len(decoded) == 0 {
		return text
	}
	return decoded // up to where it is at fault, or cut off
}
