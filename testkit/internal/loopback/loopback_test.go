// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestListenSharesOnePort(t *testing.T) {
	all, err := Listen(0, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	if err != nil {
		t.Fatal(err)
	}
	port := AddrPort(all[0].Addr()).Port()
	for i, l := range all {
		defer l.Close()
		want := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 2)}), port)
		if got := AddrPort(l.Addr()); got != want {
			t.Errorf("listener %d on %s, want %s", i, got, want)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatalf("dial %s: %v", l.Addr(), err)
		}
		_ = c.Close()
	}
}

func TestListenFixedPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := AddrPort(l.Addr()).Port()
	if _, err := Listen(port, "127.0.0.2", "127.0.0.3"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want EADDRINUSE", err)
	}
	// The listener on .2 that was open for a moment must be closed again.
	again, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port).String())
	if err != nil {
		t.Fatalf("port on 127.0.0.2 was not given back: %v", err)
	}
	_ = again.Close()
}

func TestListenNeedsAnAddress(t *testing.T) {
	if _, err := Listen(0); err == nil {
		t.Fatal("no error without address")
	}
}

func TestListenBoth(t *testing.T) {
	u, l, err := ListenBoth(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	defer l.Close()
	if AddrPort(u.LocalAddr()) != AddrPort(l.Addr()) {
		t.Errorf("UDP on %s, TCP on %s", u.LocalAddr(), l.Addr())
	}
	if _, _, err := ListenBoth(AddrPort(l.Addr())); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second ListenBoth on the same port: %v, want EADDRINUSE", err)
	}
}

func TestRefuseTCP(t *testing.T) {
	r, err := RefuseTCP(netip.MustParseAddrPort("127.0.0.3:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if _, err := net.Dial("tcp", r.Addr.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dial: %v, want ECONNREFUSED", err)
	}
	if l, err := net.Listen("tcp", r.Addr.String()); err == nil {
		_ = l.Close()
		t.Error("the reserved TCP port could be taken by another")
	}
	r.Release()
	l, err := net.Listen("tcp", r.Addr.String())
	if err != nil {
		t.Fatalf("after Release: %v", err)
	}
	_ = l.Close()
}

func TestRefuseUDP(t *testing.T) {
	r, err := RefuseUDP(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	c, err := net.Dial("udp", r.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("read: %v, want ECONNREFUSED", err)
	}
	if u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(r.Addr)); err == nil {
		_ = u.Close()
		t.Error("the reserved UDP port could be taken by another")
	}
}

func TestIgnore(t *testing.T) {
	r, err := IgnoreTCP(netip.MustParseAddrPort("127.0.0.3:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	for range 3 {
		c, err := net.DialTimeout("tcp", r.Addr.String(), 50*time.Millisecond)
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("dial: %v, want a timeout", err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
	r.Release()
	if _, err := net.Dial("tcp", r.Addr.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after Release: %v", err)
	}

	u, err := IgnoreUDP(netip.MustParseAddrPort("[::1]:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Release()
	c, err := net.Dial("udp", u.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want a timeout", err)
	}
}
