// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"net"
	"net/netip"
	"testing"

	"github.com/postrider/postrider/testkit/internal/loopback"
)

// SharedPort listens on one free port of several loopback addresses at once, as the MX hosts of a test need it: they
// differ by address and share sender.smtp_port. The listeners are in the order of addrs and are closed at the end of
// the test.
func SharedPort(tb testing.TB, addrs ...string) []net.Listener {
	tb.Helper()
	all, err := ListenShared(addrs...)
	if err != nil {
		tb.Fatalf("smtptest: %v", err)
	}
	for _, l := range all {
		tb.Cleanup(func() { _ = l.Close() })
	}
	return all
}

// ListenShared is SharedPort without a test: the caller closes the listeners.
func ListenShared(addrs ...string) ([]net.Listener, error) {
	return loopback.Listen(0, addrs...)
}

// Port is the port of a listener on the loopback network.
func Port(l net.Listener) uint16 { return loopback.AddrPort(l.Addr()).Port() }

// Refuse holds an address and port on which every connection is refused (RST), so that no other test can take it
// meanwhile. With port 0 the kernel chooses one. It gives the address held, until the end of the test.
func Refuse(tb testing.TB, addr netip.AddrPort) netip.AddrPort {
	tb.Helper()
	r, err := loopback.RefuseTCP(addr)
	if err != nil {
		tb.Fatalf("smtptest: %v", err)
	}
	tb.Cleanup(r.Release)
	return r.Addr
}

// BlackHole holds an address and port on which connection attempts get no answer, so that a dial ends by its own
// time limit. With port 0 the kernel chooses one. It gives the address held, until the end of the test. It is known
// for Linux only and fails the test elsewhere.
func BlackHole(tb testing.TB, addr netip.AddrPort) netip.AddrPort {
	tb.Helper()
	r, err := loopback.IgnoreTCP(addr)
	if err != nil {
		tb.Fatalf("smtptest: %v", err)
	}
	tb.Cleanup(r.Release)
	return r.Addr
}

// RefuseAt is Refuse without a test: the caller calls release.
func RefuseAt(addr netip.AddrPort) (held netip.AddrPort, release func(), err error) {
	r, err := loopback.RefuseTCP(addr)
	if err != nil {
		return netip.AddrPort{}, nil, err
	}
	return r.Addr, r.Release, nil
}
