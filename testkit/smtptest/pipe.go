// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// DefaultWindow is how many octets a direction of a Pipe holds before a write blocks.
const DefaultWindow = 64 << 10

// PipeConn is one end of a Pipe.
type PipeConn struct {
	wire          *wire
	in, out       *flow
	local, remote net.Addr
	closed        bool      // Close or Reset was called on this end
	abrupt        bool      // Close is a reset (SO_LINGER 0)
	readBy        time.Time // deadlines; zero: none
	writeBy       time.Time
}

// wire is what the two ends share: one lock, and one condition for every change.
type wire struct {
	mu      sync.Mutex
	changed *sync.Cond
	window  int
	reset   bool // both directions are dead
}

// flow is one direction.
type flow struct {
	buf  []byte
	fin  bool // the writer has ended it
	gone bool // the reader has closed
}

// Pipe is a connection in memory that behaves like TCP where SMTP can tell: writes are buffered up to the window and
// block beyond it, either direction can be ended alone, a reset destroys what is under way, and closing with unread
// input or writing to a closed peer is a reset (RFC 9293, section 3.6). It has deadlines and no goroutines, so that it
// fits a testing/synctest bubble. A window of 0 is DefaultWindow.
func Pipe(window int) (client, server *PipeConn) {
	return newPipe(window, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000},
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25})
}

func newPipe(window int, clientAddr, serverAddr net.Addr) (client, server *PipeConn) {
	if window <= 0 {
		window = DefaultWindow
	}
	w := &wire{window: window}
	w.changed = sync.NewCond(&w.mu)
	up, down := new(flow), new(flow)
	client = &PipeConn{wire: w, in: down, out: up, local: clientAddr, remote: serverAddr}
	server = &PipeConn{wire: w, in: up, out: down, local: serverAddr, remote: clientAddr}
	return client, server
}

// Read implements net.Conn.
func (p *PipeConn) Read(b []byte) (int, error) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, p.fail("read", net.ErrClosed)
		case p.wire.reset:
			return 0, p.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case expired(p.readBy):
			return 0, p.fail("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case len(p.in.buf) > 0:
			n := copy(b, p.in.buf)
			p.in.buf = p.in.buf[n:]
			p.wire.changed.Broadcast()
			return n, nil
		case p.in.fin:
			return 0, io.EOF
		}
		p.wire.changed.Wait()
	}
}

// Write implements net.Conn.
func (p *PipeConn) Write(b []byte) (n int, err error) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	for {
		switch room := p.wire.window - len(p.out.buf); {
		case p.closed:
			return n, p.fail("write", net.ErrClosed)
		case p.wire.reset:
			return n, p.fail("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case p.out.fin:
			return n, p.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		case expired(p.writeBy):
			return n, p.fail("write", os.ErrDeadlineExceeded)
		case p.out.gone:
			// As with TCP the octets are taken; it is the peer's answer to them that kills the connection.
			p.wire.reset = true
			p.wire.changed.Broadcast()
			return n + len(b), nil
		case room > 0:
			part := b[:min(room, len(b))]
			p.out.buf = append(p.out.buf, part...)
			b, n = b[len(part):], n+len(part)
			p.wire.changed.Broadcast()
			if len(b) == 0 {
				return n, nil
			}
			continue
		}
		p.wire.changed.Wait()
	}
}

// CloseWrite ends the own direction (FIN); the peer reads end of file after what is under way.
func (p *PipeConn) CloseWrite() error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.closed {
		return p.fail("close", net.ErrClosed)
	}
	p.out.fin = true
	p.wire.changed.Broadcast()
	return nil
}

// Close implements net.Conn. Unread input makes it a reset.
func (p *PipeConn) Close() error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.closed {
		return p.fail("close", net.ErrClosed)
	}
	p.closed, p.out.fin, p.in.gone = true, true, true
	if len(p.in.buf) > 0 || p.abrupt {
		p.wire.reset = true
	}
	p.wire.changed.Broadcast()
	return nil
}

// SetLinger with 0 makes Close a reset, as SO_LINGER does; with any other value an ordinary close.
func (p *PipeConn) SetLinger(sec int) error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.closed {
		return p.fail("set", net.ErrClosed)
	}
	p.abrupt = sec == 0
	return nil
}

// Reset closes and destroys what is under way in both directions.
func (p *PipeConn) Reset() error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	p.closed, p.wire.reset = true, true
	p.wire.changed.Broadcast()
	return nil
}

// LocalAddr implements net.Conn.
func (p *PipeConn) LocalAddr() net.Addr { return p.local }

// RemoteAddr implements net.Conn.
func (p *PipeConn) RemoteAddr() net.Addr { return p.remote }

// SetDeadline implements net.Conn.
func (p *PipeConn) SetDeadline(t time.Time) error { return p.setDeadlines(t, &p.readBy, &p.writeBy) }

// SetReadDeadline implements net.Conn.
func (p *PipeConn) SetReadDeadline(t time.Time) error { return p.setDeadlines(t, &p.readBy) }

// SetWriteDeadline implements net.Conn.
func (p *PipeConn) SetWriteDeadline(t time.Time) error { return p.setDeadlines(t, &p.writeBy) }

func (p *PipeConn) setDeadlines(t time.Time, which ...*time.Time) error {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.closed {
		return p.fail("set", net.ErrClosed)
	}
	for _, d := range which {
		*d = t
	}
	p.wire.changed.Broadcast()
	if d := time.Until(t); !t.IsZero() && d > 0 {
		// A timer of an earlier deadline fires for nothing; it only makes the waiting look again.
		time.AfterFunc(d, func() {
			p.wire.mu.Lock()
			defer p.wire.mu.Unlock()
			p.wire.changed.Broadcast()
		})
	}
	return nil
}

// pending reports whether there is input that was not read yet.
func (p *PipeConn) pending() bool {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	return len(p.in.buf) > 0
}

// awaitPeer blocks until the peer has ended its direction or the connection, without reading.
func (p *PipeConn) awaitPeer() CloseKind {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	for {
		switch {
		case p.closed:
			return ClosedHere
		case p.wire.reset:
			return ClosedReset
		case p.in.fin && len(p.in.buf) < p.wire.window: // behind a full window a FIN does not come through
			return ClosedFIN
		}
		p.wire.changed.Wait()
	}
}

func (p *PipeConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "pipe", Source: p.local, Addr: p.remote, Err: err}
}

func expired(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
