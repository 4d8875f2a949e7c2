// SPDX-License-Identifier: Apache-2.0

package content

import (
	"bytes"
	"encoding/binary"
	"strings"
)

var crlf = []byte("\r\n")

const highBits = 0x8080808080808080

// hasHighBit reports whether a byte is over 127, eight at a time.
func hasHighBit(p []byte) bool {
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p)&highBits != 0 {
			return true
		}
		p = p[8:]
	}
	for _, b := range p {
		if b > 127 {
			return true
		}
	}
	return false
}

// lineEnd returns the position behind the line that begins at from.
func lineEnd(p []byte, from int) int {
	if at := bytes.IndexByte(p[from:], '\n'); at >= 0 {
		return from + at + 1
	}
	return len(p)
}

// headerEnd returns the position behind the empty line that ends the header block, and -1 when there is none yet. It
// looks from position from on; a block that begins with the empty line has no fields.
func headerEnd(p []byte, from int) int {
	if bytes.HasPrefix(p, crlf) {
		return len(crlf)
	}
	from = max(0, from-3)
	if at := bytes.Index(p[from:], []byte("\r\n\r\n")); at >= 0 {
		return from + at + 4
	}
	return -1
}

// unfold returns a field's value on one line without the white space around it (RFC 5322, section 2.2.3).
func unfold(value []byte) string {
	s := string(bytes.TrimSpace(value))
	if !strings.Contains(s, "\r\n") {
		return s
	}
	return strings.ReplaceAll(s, "\r\n", "")
}

// messageID returns the value of a Message-ID field if it is one identifier in angle brackets, else "".
func messageID(value string) string {
	if len(value) < 3 || value[0] != '<' || value[len(value)-1] != '>' || strings.ContainsAny(value[1:len(value)-1], "<> \t") {
		return ""
	}
	return value
}

// foldLines folds every line over limit at its last white space before it (RFC 5322, section 2.2.3). A line that has
// none is refused.
func foldLines(block []byte, limit int) ([]byte, error) {
	out := make([]byte, 0, len(block)+64)
	for number := 1; len(block) > 0; number++ {
		end := lineEnd(block, 0)
		line := block[:end]
		block = block[end:]
		for len(bytes.TrimSuffix(line, crlf)) > limit {
			at := foldPoint(line, limit)
			if at < 0 {
				return nil, malformed(ReasonLineTooLong, number,
					"a header line is longer than %d bytes and has no white space to fold at", limit)
			}
			out = append(append(out, line[:at]...), crlf...)
			line = line[at:]
		}
		out = append(out, line...)
	}
	return out, nil
}

// foldPoint returns the last white space at or before limit that a line can be cut before, so that neither part is
// blank. -1 means that there is none.
func foldPoint(line []byte, limit int) int {
	for at := limit; at > 0; at-- {
		if line[at] != ' ' && line[at] != '\t' {
			continue
		}
		if len(bytes.TrimSpace(line[:at])) > 0 && len(bytes.TrimSpace(line[at:])) > 0 {
			return at
		}
	}
	return -1
}

// bodyScan follows the lines of the body.
type bodyScan struct {
	limit int
	col   int // bytes since the last line end
	lines int
	dots  bool
	eight bool
}

// piece looks at the next bytes of the body.
func (s *bodyScan) piece(p []byte) error {
	if !s.eight {
		s.eight = hasHighBit(p)
	}
	for len(p) > 0 {
		if s.col == 0 && p[0] == '.' {
			s.dots = true
		}
		at := bytes.IndexByte(p, '\n')
		length := s.col + at - 1 // without CRLF
		if at < 0 {
			s.col += len(p)
			length = s.col - 1 // the last byte may be the CR of the line end
		}
		if length > s.limit {
			return s.tooLong()
		}
		if at < 0 {
			return nil
		}
		s.col, s.lines, p = 0, s.lines+1, p[at+1:]
	}
	return nil
}

// end judges a last line without line end.
func (s *bodyScan) end() error {
	if s.col > s.limit {
		return s.tooLong()
	}
	return nil
}

func (s *bodyScan) tooLong() error {
	return malformed(ReasonLineTooLong, s.lines+1, "a line is longer than %d bytes", s.limit)
}
