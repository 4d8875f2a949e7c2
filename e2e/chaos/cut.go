// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"io"
	"net"
	"sync"
	"testing"
)

// wire is the way from one process to the NATS server. It can be cut, so that both ends notice, or frozen: then nothing
// arrives, nobody notices, and what was on its way arrives when it thaws.
type wire struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	whole bool
	ends  map[net.Conn]bool
	thaw  chan struct{} // closed while it is not frozen
}

// newWire makes a way to an address. It ends with the test.
func newWire(t testing.TB, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, target: target, whole: true, ends: map[net.Conn]bool{}, thaw: make(chan struct{})}
	close(w.thaw)
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
		w.cut()
		w.melt()
		running.Wait()
	})
	return w
}

func (w *wire) addr() string { return w.listener.Addr().String() }

// carry joins a connection with the target until either end or the wire is cut.
func (w *wire) carry(near net.Conn) {
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
	pipe := func(to, from net.Conn) {
		_, _ = io.Copy(to, frozen{w, from}) // how it ends is no matter
		to.Close()
		from.Close()
	}
	both.Go(func() { pipe(near, far) })
	both.Go(func() { pipe(far, near) })
	both.Wait()
}

func (w *wire) enter(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		if w.whole {
			w.ends[c] = true
		}
	}
	return w.whole
}

func (w *wire) leave(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.ends, c)
	}
}

// cut ends all connections, and those to come.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = false
	for c := range w.ends {
		c.Close()
	}
}

// mend lets connections through again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = true
}

// freeze holds up everything on its way.
func (w *wire) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.thaw = make(chan struct{})
}

// melt lets it go on.
func (w *wire) melt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.thaw:
	default:
		close(w.thaw)
	}
}

// frozen reads from a connection when the wire is not frozen.
type frozen struct {
	w    *wire
	from net.Conn
}

func (f frozen) Read(p []byte) (int, error) {
	n, err := f.from.Read(p)
	f.w.mu.Lock()
	thaw := f.w.thaw
	f.w.mu.Unlock()
	<-thaw
	return n, err
}
