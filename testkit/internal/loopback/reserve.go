// SPDX-License-Identifier: Apache-2.0

//go:build unix

package loopback

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
)

// Reservation is a port that is taken, so that nobody else gets it, and on which nobody serves: it refuses (a TCP
// connection is answered with RST, a UDP datagram with an ICMP port unreachable message), or ignores.
type Reservation struct {
	// Addr is the address and port held.
	Addr netip.AddrPort

	once sync.Once
	fd   int
	more []int // further sockets that belong to it
}

// RefuseTCP binds a TCP socket to addr and does not listen on it. With port 0 the kernel chooses the port.
func RefuseTCP(addr netip.AddrPort) (*Reservation, error) {
	return reserve(addr, syscall.SOCK_STREAM)
}

// RefuseUDP binds a UDP socket to addr and connects it to its own address, so that datagrams from anybody else find
// no socket. With port 0 the kernel chooses the port.
func RefuseUDP(addr netip.AddrPort) (*Reservation, error) {
	r, err := reserve(addr, syscall.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	if err := syscall.Connect(r.fd, sockaddr(r.Addr)); err != nil {
		r.Release()
		return nil, fmt.Errorf("loopback: connect reserved UDP socket %s to itself: %w", r.Addr, err)
	}
	return r, nil
}

// Release gives the port back. It may be called more than once.
func (r *Reservation) Release() {
	r.once.Do(func() {
		for _, fd := range append(r.more, r.fd) {
			_ = syscall.Close(fd)
		}
	})
}

func reserve(addr netip.AddrPort, kind int) (*Reservation, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(family(addr), kind, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("loopback: socket for %s: %w", addr, err)
	}
	r := &Reservation{Addr: addr, fd: fd}
	err = syscall.Bind(fd, sockaddr(addr))
	if kind == syscall.SOCK_STREAM && errors.Is(err, syscall.EADDRINUSE) {
		// A listener of ours that was closed a moment ago may have left connections in TIME-WAIT. Not set at once,
		// since with it another socket could share the port.
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		if err == nil {
			err = syscall.Bind(fd, sockaddr(addr))
		}
	}
	if err == nil {
		r.Addr, err = bound(fd)
	}
	if err != nil {
		r.Release()
		return nil, fmt.Errorf("loopback: reserve %s: %w", addr, err)
	}
	return r, nil
}

// IgnoreUDP makes addr take datagrams and never answer. With port 0 the kernel chooses the port.
func IgnoreUDP(addr netip.AddrPort) (*Reservation, error) {
	return reserve(addr, syscall.SOCK_DGRAM)
}

func family(addr netip.AddrPort) int {
	if addr.Addr().Is6() {
		return syscall.AF_INET6
	}
	return syscall.AF_INET
}

func bound(fd int) (netip.AddrPort, error) {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	default:
		return netip.AddrPort{}, fmt.Errorf("unknown socket address %T", sa)
	}
}

func sockaddr(ap netip.AddrPort) syscall.Sockaddr {
	if ap.Addr().Is6() {
		return &syscall.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}
	}
	return &syscall.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}
}
