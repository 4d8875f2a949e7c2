// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"errors"
	"net"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// errShut is what a client gets while the server is away.
var errShut = errors.New("bustest: the server is away")

// door is the only way to the server: every connection is a link that the test can cut or hold. It implements
// nats.InProcessConnProvider.
type door struct {
	running sync.WaitGroup

	mu       sync.Mutex
	srv      *server.Server // nil: shut
	listener net.Listener   // nil: none
	links    map[*link]struct{}
	held     bool
}

func newDoor() *door { return &door{links: map[*link]struct{}{}} }

// open lets connections through to srv.
func (d *door) open(srv *server.Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.srv = srv
}

// shut cuts every connection and lets none through. When it returns, nothing of the server reaches a client any more.
func (d *door) shut() {
	d.mu.Lock()
	d.srv = nil
	d.mu.Unlock()
	d.cut()
}

func (d *door) cut() {
	d.mu.Lock()
	links := d.links
	d.links = map[*link]struct{}{}
	d.mu.Unlock()
	for l := range links {
		l.close()
	}
}

func (d *door) hold(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = on
	for l := range d.links {
		l.hold(on)
	}
}

// InProcessConn gives the client's end of a new link.
func (d *door) InProcessConn() (net.Conn, error) {
	ours, theirs := net.Pipe()
	if err := d.connect(theirs); err != nil {
		return nil, err
	}
	return ours, nil
}

// connect links a client's connection to the server.
func (d *door) connect(client net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.srv == nil {
		_ = client.Close()
		return errShut
	}
	srv, err := d.srv.InProcessConn()
	if err != nil {
		_ = client.Close()
		return err
	}
	l := newLink(client, srv, d.held)
	d.links[l] = struct{}{}
	d.running.Go(func() {
		l.run()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.links, l)
	})
	return nil
}

// listen takes TCP connections as well. While the server is away they are closed at once.
func (d *door) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.listener = l
	d.mu.Unlock()
	d.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			_ = d.connect(c) // refused: the client sees its connection closed
		}
	})
	return nil
}

// addr is the address of the listener, "" without.
func (d *door) addr() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener == nil {
		return ""
	}
	return d.listener.Addr().String()
}

// close ends everything and waits for it.
func (d *door) close() {
	d.shut()
	d.mu.Lock()
	l := d.listener
	d.mu.Unlock()
	if l != nil {
		_ = l.Close()
	}
	d.cut()
	d.running.Wait()
}
