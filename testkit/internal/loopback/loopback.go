// SPDX-License-Identifier: Apache-2.0

// Package loopback takes ports on the loopback network for the test servers of this module: one port on several
// addresses at once, TCP and UDP on the same port, and ports that are taken but refuse (RFC 9293, section 3.5.2).
//
// It owns the sockets only; what is spoken over them belongs to smtptest and dnstest.
package loopback

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// tries bounds the search for a port that is free everywhere at once.
const tries = 100

// ErrNoSharedPort says that no port was free on all wanted addresses within the tries allowed.
var ErrNoSharedPort = errors.New("no port free on all addresses")

// Listen opens a TCP listener on every address, all on the same port. With port 0 a port free on all of them is
// searched; another port is taken as it is. Addresses are IP addresses without port, at least one.
func Listen(port uint16, addrs ...string) ([]net.Listener, error) {
	if len(addrs) == 0 {
		return nil, errors.New("loopback: no address given")
	}
	var last error
	for range tries {
		all, err := listenAll(port, addrs)
		if err == nil {
			return all, nil
		}
		if port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, err
		}
		last = err
	}
	return nil, fmt.Errorf("loopback: %w: %w", ErrNoSharedPort, last)
}

func listenAll(port uint16, addrs []string) ([]net.Listener, error) {
	all := make([]net.Listener, 0, len(addrs))
	for _, a := range addrs {
		l, err := net.Listen("tcp", net.JoinHostPort(a, fmt.Sprint(port)))
		if err != nil {
			for _, open := range all {
				_ = open.Close()
			}
			return nil, fmt.Errorf("loopback: listen on %s port %d: %w", a, port, err)
		}
		port = AddrPort(l.Addr()).Port()
		all = append(all, l)
	}
	return all, nil
}

// ListenBoth opens a UDP socket and a TCP listener on the same address and port, as a DNS server needs (RFC 7766,
// section 5). With port 0 a port free for both is searched.
func ListenBoth(addr netip.AddrPort) (*net.UDPConn, *net.TCPListener, error) {
	var last error
	for range tries {
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			return nil, nil, fmt.Errorf("loopback: listen on UDP %s: %w", addr, err)
		}
		same := AddrPort(u.LocalAddr())
		t, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(same))
		if err == nil {
			return u, t, nil
		}
		_ = u.Close()
		if addr.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, fmt.Errorf("loopback: listen on TCP %s: %w", same, err)
		}
		last = err
	}
	return nil, nil, fmt.Errorf("loopback: %w: %w", ErrNoSharedPort, last)
}

// AddrPort gives the IP address and port of a TCP or UDP address, without the v4-mapped form. The zero value stands
// for any other kind of address.
func AddrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
