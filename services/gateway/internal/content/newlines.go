// SPDX-License-Identifier: Apache-2.0

package content

import "bytes"

// newlines lets only CRLF line endings and no NUL through. It is the first to see the submitted bytes, so that size,
// header and dot handling never meet LF.LF, CR.CR or the like (RFC 5321, section 4.1.1.4).
type newlines struct {
	mode   Newlines
	lastCR bool // the last byte seen was a CR
	lines  int  // lines that have ended
	buf    []byte
}

// pass returns the piece with CRLF line endings. In mode reject it is the piece itself, which may end in a CR whose LF
// comes with the next one; in mode normalise it is a buffer that is good until the next call.
func (n *newlines) pass(piece []byte) ([]byte, error) {
	if at := bytes.IndexByte(piece, 0); at >= 0 {
		line := n.lines + 1 + bytes.Count(piece[:at], []byte{'\n'})
		return nil, malformed(ReasonNUL, line, "the content holds a NUL byte")
	}
	if n.mode == Normalise {
		return n.normalise(piece), nil
	}
	return piece, n.check(piece)
}

// end must be called behind the last piece.
func (n *newlines) end() error {
	if n.mode != Normalise && n.lastCR {
		return bareNewline(n.lines+1, "CR")
	}
	return nil
}

// check refuses a bare CR or LF. When every LF follows a CR and there are as many CRs as LFs, none is bare.
func (n *newlines) check(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	crs := bytes.Count(piece, []byte{'\r'})
	if n.lastCR {
		if piece[0] != '\n' {
			return bareNewline(n.lines+1, "CR")
		}
		crs++
	}
	lfs, lastCR := 0, n.lastCR
	for rest := piece; ; {
		at := bytes.IndexByte(rest, '\n')
		if at < 0 {
			break
		}
		if (at == 0 && !lastCR) || (at > 0 && rest[at-1] != '\r') {
			return n.firstBare(piece)
		}
		lfs++
		rest, lastCR = rest[at+1:], false
	}
	endsInCR := piece[len(piece)-1] == '\r'
	if endsInCR {
		crs--
	}
	if crs != lfs {
		return n.firstBare(piece)
	}
	n.lastCR = endsInCR
	n.lines += lfs
	return nil
}

// firstBare names the first bare CR or LF of a piece that is known to hold one.
func (n *newlines) firstBare(piece []byte) error {
	line, lastCR := n.lines+1, n.lastCR
	for _, b := range piece {
		switch {
		case b == '\n' && !lastCR:
			return bareNewline(line, "LF")
		case b == '\n':
			line++
		case lastCR:
			return bareNewline(line, "CR")
		}
		lastCR = b == '\r'
	}
	return bareNewline(line, "CR")
}

// normalise turns every bare CR and every bare LF into CRLF.
func (n *newlines) normalise(piece []byte) []byte {
	out := n.buf[:0]
	for len(piece) > 0 {
		at := bytes.IndexAny(piece, "\r\n")
		if at != 0 {
			if at < 0 {
				at = len(piece)
			}
			out = append(out, piece[:at]...)
			piece, n.lastCR = piece[at:], false
			continue
		}
		if piece[0] == '\r' || !n.lastCR {
			out = append(out, '\r', '\n')
			n.lines++
		}
		piece, n.lastCR = piece[1:], piece[0] == '\r'
	}
	n.buf = out
	return out
}

func bareNewline(line int, what string) *Fault {
	return malformed(ReasonBareNewline, line, "the content holds a bare %s: lines end in CRLF", what)
}
