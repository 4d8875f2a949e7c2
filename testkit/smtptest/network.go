// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// Network is a network in memory: addresses on which hosts listen, refuse, stay silent or cannot be reached, and a
// DialContext. It makes connections with Pipe, so that a whole delivery with all its time limits runs in a
// testing/synctest bubble:
//
//	n := smtptest.NewNetwork(t)
//	smtptest.ServeOn(t, n.Listen("192.0.2.1:25"), func(c *smtptest.Conn) { c.Silent() })
//	h := smtptest.NewHost(t, smtptest.HostOptions{Listener: n.Listen("192.0.2.2:25")})
//
// An address of which nothing is said refuses.
type Network struct {
	tb testing.TB

	mu     sync.Mutex
	places map[netip.AddrPort]place
	dials  []netip.AddrPort
	ports  int
}

// place is what a dial meets at an address: a listener, an error, or silence when both are missing.
type place struct {
	listener *pipeListener
	err      error
}

// NewNetwork makes an empty network.
func NewNetwork(tb testing.TB) *Network {
	return &Network{tb: tb, places: map[netip.AddrPort]place{}, ports: 40000}
}

// Listen makes addr, IP address and port, accept connections. Closing the listener makes it refuse again.
func (n *Network) Listen(addr string) net.Listener {
	n.tb.Helper()
	l := &pipeListener{network: n, addr: n.parse(addr), conns: make(chan net.Conn, 128), closed: make(chan struct{})}
	n.put(addr, place{listener: l})
	return l
}

// BlackHole makes addr swallow connection attempts: a dial waits until its context ends.
func (n *Network) BlackHole(addr string) { n.tb.Helper(); n.put(addr, place{}) }

// Unreachable makes a dial to addr fail at once with an error number, such as syscall.ENETUNREACH or EHOSTUNREACH.
func (n *Network) Unreachable(addr string, errno syscall.Errno) {
	n.tb.Helper()
	n.put(addr, place{err: errno})
}

func (n *Network) parse(addr string) netip.AddrPort {
	n.tb.Helper()
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		n.tb.Fatalf("smtptest: %v", err)
	}
	return ap
}

func (n *Network) put(addr string, p place) {
	n.tb.Helper()
	ap := n.parse(addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.places[ap] = p
}

// Dials are the addresses dialled so far, in order, whatever became of it.
func (n *Network) Dials() []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dials)
}

// DialContext has the form of net.Dialer.DialContext. address must be an IP address with a port.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("smtptest: %w", err)}
	}
	remote := net.TCPAddrFromAddrPort(ap)
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: remote, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(dialError(err))
	}
	n.mu.Lock()
	n.dials = append(n.dials, ap)
	p, known := n.places[ap]
	n.ports++
	local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 200), Port: n.ports}
	n.mu.Unlock()
	switch {
	case !known:
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case p.err != nil:
		return fail(os.NewSyscallError("connect", p.err))
	case p.listener == nil:
		<-ctx.Done()
		return fail(dialError(ctx.Err()))
	}
	client, server := newPipe(0, local, remote)
	select {
	case p.listener.conns <- server:
		return client, nil
	case <-p.listener.closed:
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	case <-ctx.Done():
		return fail(dialError(ctx.Err()))
	}
}

// dialError is what the net package reports for the end of a dial's context.
func dialError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// pipeListener hands out the server's ends of dials.
type pipeListener struct {
	network *Network
	addr    netip.AddrPort
	conns   chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
	default:
		select {
		case c := <-l.conns:
			return c, nil
		case <-l.closed:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: "pipe", Addr: l.Addr(), Err: net.ErrClosed}
}

// Close implements net.Listener. Connections that nobody has accepted are reset.
func (l *pipeListener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		if l.network.places[l.addr].listener == l {
			delete(l.network.places, l.addr)
		}
		l.network.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.conns:
				_ = reset(c)
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }
