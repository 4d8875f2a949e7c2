// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bufio"
	"bytes"
	"io"
	"os"
)

// ContentError is stored content that may not leave as it is: another size than announced, or a CR or LF that stands alone.
type ContentError struct {
	detail string
	err    error
}

func (e *ContentError) Error() string {
	if e.err == nil {
		return e.detail
	}
	return e.detail + ": " + e.err.Error()
}

func (e *ContentError) Unwrap() error { return e.err }

// contentWriter passes content on with one more dot at each line that begins with one (RFC 5321, section 4.5.2). It
// copies nothing itself. A CR or LF that stands alone never passes (S-65).
type contentWriter struct {
	out       *bufio.Writer
	left      int64 // octets still to come
	lineStart bool  // the next octet begins a line
	cr        bool  // the last octet was CR
}

// copy passes the whole of body on. A body in memory is handed over as it lies there.
func (w *contentWriter) copy(body io.Reader) error {
	to, inMemory := body.(io.WriterTo)
	if _, file := body.(*os.File); inMemory && !file {
		_, err := to.WriteTo(w)
		return err
	}
	buf := make([]byte, min(readBuffer, max(w.left, 1)))
	for {
		n, err := body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &ContentError{"the content cannot be read", err}
		}
	}
}

// finish checks the end and adds the CRLF that the content lacks.
func (w *contentWriter) finish() error {
	switch {
	case w.left > 0:
		return &ContentError{"the content is shorter than its size", nil}
	case w.cr:
		return errBareLineEnd()
	case w.lineStart:
		return nil
	}
	_, err := w.out.WriteString("\r\n")
	return err
}

func errBareLineEnd() error {
	return &ContentError{"the content has a CR or LF that stands alone", nil}
}

// Write passes the next piece on.
func (w *contentWriter) Write(p []byte) (int, error) {
	if w.left -= int64(len(p)); w.left < 0 {
		return 0, &ContentError{"the content is longer than its size", nil}
	}
	from := 0 // of what is not passed on yet
	for i := 0; i < len(p); {
		if w.cr && p[i] != '\n' {
			return 0, errBareLineEnd()
		}
		if w.lineStart && p[i] == '.' {
			if _, err := w.out.Write(p[from:i]); err != nil {
				return 0, err
			}
			if err := w.out.WriteByte('.'); err != nil {
				return 0, err
			}
			from = i
		}
		n, err := w.line(p[i:])
		if err != nil {
			return 0, err
		}
		i += n
	}
	if _, err := w.out.Write(p[from:]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// line looks at p up to the end of the line, or of p, and tells how far that is.
func (w *contentWriter) line(p []byte) (int, error) {
	end := bytes.IndexByte(p, '\n')
	text := p
	if end >= 0 {
		text = p[:end]
	}
	cr := bytes.IndexByte(text, '\r')
	if cr >= 0 && cr != len(text)-1 {
		return 0, errBareLineEnd()
	}
	if end < 0 {
		w.lineStart, w.cr = false, cr >= 0
		return len(p), nil
	}
	if cr < 0 && (!w.cr || end > 0) {
		return 0, errBareLineEnd()
	}
	w.lineStart, w.cr = true, false
	return end + 1, nil
}
