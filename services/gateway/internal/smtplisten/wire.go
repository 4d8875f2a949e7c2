// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// maxLine bounds a command line with its CRLF: that of AUTH is the longest (RFC 4954, section 4).
const maxLine = 12288

var (
	errLongLine = errors.New("a command line is too long")
	errBareLine = errors.New("a command line holds a bare CR, a bare LF or a NUL")
	errStopping = errors.New("the server is stopping")
)

// wire is the connection of a session: lines in, replies out, each within its time.
type wire struct {
	raw  net.Conn // the socket, which deadlines are set on
	r    *bufio.Reader
	w    *bufio.Writer
	conn net.Conn // raw, or TLS over it

	mu       sync.Mutex
	waiting  bool // for a command
	stopping bool
	aborted  bool
	lingered bool
}

func newWire(conn net.Conn) *wire {
	return &wire{raw: conn, conn: conn, r: bufio.NewReaderSize(conn, 16<<10), w: bufio.NewWriterSize(conn, 2<<10)}
}

// past is a deadline that ends a read at once.
func past() time.Time { return time.Unix(1, 0) }

// interrupt ends the session when it waits for a command, now or the next time.
func (w *wire) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopping = true
	if w.waiting {
		_ = w.raw.SetReadDeadline(past())
	}
}

// abort ends every read and write.
func (w *wire) abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.aborted = true
	_ = w.raw.SetReadDeadline(past())
	_ = w.raw.SetWriteDeadline(time.Now().Add(time.Second))
}

// allow gives the next reads until then. command says that they are for a command.
func (w *wire) allow(until time.Time, command bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = command
	if w.aborted || (command && w.stopping) {
		until = past()
	}
	_ = w.raw.SetReadDeadline(until)
}

func (w *wire) ending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopping || w.aborted
}

// line reads one command line and returns it without CRLF. It is good until the next read.
func (w *wire) line(limit time.Duration) (string, error) {
	if ahead, _ := w.r.Peek(w.r.Buffered()); bytes.IndexByte(ahead, '\n') < 0 {
		w.flush() // the client may wait for the replies
	}
	w.allow(time.Now().Add(limit), true)
	defer w.allow(time.Now().Add(limit), false)
	text, err := w.r.ReadSlice('\n')
	switch {
	case err == nil:
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errLongLine
	case w.ending() && !errors.Is(err, io.EOF):
		return "", errStopping
	default:
		return "", fmt.Errorf("read a command: %w", err)
	}
	if len(text) > maxLine {
		return "", errLongLine
	}
	command, found := bytes.CutSuffix(text, []byte("\r\n"))
	if !found || bytes.ContainsAny(command, "\r\x00") {
		return "", errBareLine
	}
	return string(command), nil
}

// reply writes one line. enhanced is empty where none belongs (RFC 2034, section 4).
func (w *wire) reply(code int, enhanced, format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...))
	if enhanced != "" {
		text = enhanced + " " + text
	}
	w.write(fmt.Sprintf("%d %s\r\n", code, text))
}

// lines writes a reply of several lines.
func (w *wire) lines(code int, texts []string) {
	for i, text := range texts {
		separator := "-"
		if i == len(texts)-1 {
			separator = " "
		}
		w.write(fmt.Sprintf("%d%s%s\r\n", code, separator, clean(text)))
	}
}

// write buffers a reply. A client that does not read it is found out by flush or by the next read.
func (w *wire) write(text string) {
	if w.w.Available() < len(text) {
		w.flush()
	}
	_, _ = w.w.WriteString(text)
}

func (w *wire) flush() {
	w.mu.Lock()
	if !w.aborted {
		_ = w.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	w.mu.Unlock()
	_ = w.w.Flush() // the error stays, and the next read fails as well
}

// startTLS goes over to TLS. What was read in clear text is discarded (RFC 3207, section 4.2).
func (w *wire) startTLS(ctx context.Context, cfg *tls.Config) error {
	w.flush()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	w.allow(time.Now().Add(writeTimeout), false)
	secured := tls.Server(w.raw, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	w.conn = secured
	w.r.Reset(secured)
	w.w.Reset(secured)
	return nil
}

// linger lets the last reply arrive although the client is still sending: a socket closed with input unread resets the
// connection, and the reply would be lost.
func (w *wire) linger() {
	if w.lingered {
		return
	}
	w.lingered = true
	w.flush()
	if c, ok := w.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() // the client may be gone
	}
	w.allow(time.Now().Add(time.Second), false)
	_, _ = io.Copy(io.Discard, io.LimitReader(w.conn, 1<<20))
}

// clean keeps a reply one line of printable US-ASCII of a bearable length.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), 480)]
}
