// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"io"
	"net"
	"sync"
)

// link carries one connection between a client and the server. What the server sends is queued without bound, so
// that holding it back does not look like a slow client to the server.
type link struct {
	client, server net.Conn

	mu    sync.Mutex
	cond  *sync.Cond
	queue [][]byte
	held  bool
	ended bool // nothing more is queued or delivered
}

func newLink(client, server net.Conn, held bool) *link {
	l := &link{client: client, server: server, held: held}
	l.cond = sync.NewCond(&l.mu)
	return l
}

// run carries until one end closes or close is called.
func (l *link) run() {
	var both sync.WaitGroup
	both.Go(func() {
		defer l.close()
		_, _ = io.Copy(l.server, l.client)
	})
	both.Go(func() {
		defer l.close()
		l.collect()
	})
	both.Go(func() {
		defer l.close()
		l.deliver()
	})
	both.Wait()
}

// collect queues what the server sends.
func (l *link) collect() {
	buf := make([]byte, 32<<10)
	for {
		n, err := l.server.Read(buf)
		l.mu.Lock()
		if n > 0 && !l.ended {
			l.queue = append(l.queue, append([]byte(nil), buf[:n]...))
		}
		l.cond.Broadcast()
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// deliver writes what was queued to the client, unless held.
func (l *link) deliver() {
	for {
		part, ok := l.next()
		if !ok {
			return
		}
		if _, err := l.client.Write(part); err != nil {
			return
		}
	}
}

func (l *link) next() ([]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.ended && (l.held || len(l.queue) == 0) {
		l.cond.Wait()
	}
	if l.ended {
		return nil, false
	}
	part := l.queue[0]
	l.queue = l.queue[1:]
	return part, true
}

func (l *link) hold(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = on
	l.cond.Broadcast()
}

// close cuts the link at both ends.
func (l *link) close() {
	l.mu.Lock()
	l.ended = true
	l.cond.Broadcast()
	l.mu.Unlock()
	_ = l.client.Close()
	_ = l.server.Close()
}
