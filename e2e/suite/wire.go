// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// Wire is the way from one process to another, such as the NATS server. It can be cut, so that both ends notice, or
// frozen: then nothing arrives, nobody notices, and what was on its way arrives when it thaws.
type Wire struct {
	listener net.Listener
	target   string

	mu       sync.Mutex
	whole    bool
	ends     map[net.Conn]bool
	to, back chan struct{} // closed while that direction is not frozen
	trigger  []byte        // what freezes the answers when it is sent
}

// NewWire makes a way to an address, "host:port". It ends with the test.
func NewWire(t testing.TB, target string) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{
		listener: l, target: target, whole: true, ends: map[net.Conn]bool{}, to: make(chan struct{}), back: make(chan struct{}),
	}
	close(w.to)
	close(w.back)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.Cut()
		w.Melt()
		running.Wait()
	})
	return w
}

// Addr is where it begins.
func (w *Wire) Addr() string { return w.listener.Addr().String() }

// carry joins a connection with the target until either end or the wire is cut.
func (w *Wire) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer far.Close()
	if !w.enter(near, far) {
		return
	}
	defer w.leave(near, far)
	var both sync.WaitGroup
	pipe := func(to, from net.Conn, d *chan struct{}) {
		_, _ = io.Copy(to, frozen{w, from, d}) // how it ends is no matter
		to.Close()
		from.Close()
	}
	both.Go(func() { pipe(near, far, &w.back) })
	both.Go(func() { pipe(far, near, &w.to) })
	both.Wait()
}

func (w *Wire) enter(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.whole {
			w.ends[c] = true
		}
	}
	return w.whole
}

func (w *Wire) leave(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.ends, c)
	}
}

// thaw is closed when a direction is not frozen.
func (w *Wire) thaw(d *chan struct{}) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *d
}

// Cut ends all connections, and those to come.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = false
	for c := range w.ends {
		c.Close()
	}
}

// Mend lets connections through again.
func (w *Wire) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = true
}

// Freeze holds up everything on its way.
func (w *Wire) Freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold(&w.to)
	w.hold(&w.back)
}

// FreezeAnswers holds up what the target sends; it still gets what is sent to it.
func (w *Wire) FreezeAnswers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hold(&w.back)
}

// FreezeAnswersTo is FreezeAnswers at the moment something with these bytes in it is sent: it arrives, and its answer does
// not.
func (w *Wire) FreezeAnswersTo(sent string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trigger = []byte(sent)
}

// look is shown what is sent before it goes on.
func (w *Wire) look(sent []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.trigger != nil && bytes.Contains(sent, w.trigger) {
		w.trigger = nil
		w.hold(&w.back)
	}
}

// hold freezes a direction that is not frozen; w.mu is held.
func (w *Wire) hold(d *chan struct{}) {
	select {
	case <-*d:
		*d = make(chan struct{})
	default:
	}
}

// Melt lets everything go on.
func (w *Wire) Melt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range []chan struct{}{w.to, w.back} {
		select {
		case <-d:
		default:
			close(d)
		}
	}
}

// frozen reads from a connection when its direction is not frozen.
type frozen struct {
	w         *Wire
	from      net.Conn
	direction *chan struct{}
}

func (f frozen) Read(p []byte) (int, error) {
	n, err := f.from.Read(p)
	if f.direction == &f.w.to {
		f.w.look(p[:n])
	}
	<-f.w.thaw(f.direction)
	return n, err
}
