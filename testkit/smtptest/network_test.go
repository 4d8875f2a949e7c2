// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestNetworkInFakeTime walks from a silent host to a working one, five minutes later, in no time.
func TestNetworkInFakeTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		var silent Closed
		s := ServeOn(t, n.Listen("192.0.2.1:25"), func(c *Conn) { silent = c.Silent() })
		h := NewHost(t, HostOptions{Listener: n.Listen("192.0.2.2:25")})

		c, err := n.DialContext(t.Context(), "tcp", "192.0.2.1:25")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Minute))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		_ = c.Close()
		s.Wait(1, time.Minute)
		if silent.Kind != ClosedFIN || silent.After != 5*time.Minute || silent.Total != 0 {
			t.Errorf("the silent host saw %+v", silent)
		}

		if c, err = n.DialContext(t.Context(), "tcp", "192.0.2.2:25"); err != nil {
			t.Fatal(err)
		}
		talk := overConn(t, c)
		talk.want("220")
		talk.cmd("EHLO c", "250")
		talk.cmd("MAIL FROM:<>", "250")
		talk.cmd("RCPT TO:<b@x.test>", "250")
		talk.cmd("DATA", "354")
		talk.send("x\r\n.\r\n")
		talk.want("250")
		talk.cmd("QUIT", "221")
		_ = c.Close()
		if m := h.Wait(1, time.Minute)[0]; string(m.Data) != "x\r\n" {
			t.Errorf("message %+v", m)
		}
		if info := h.WaitClosed(1, time.Minute)[0]; info.Remote.Addr() != netip.MustParseAddr("192.0.2.200") {
			t.Errorf("remote %s", info.Remote)
		}
		if h.Addr() != netip.MustParseAddrPort("192.0.2.2:25") {
			t.Errorf("address %s", h.Addr())
		}
	})
}

func TestNetworkPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.BlackHole("192.0.2.1:25")
		n.Unreachable("192.0.2.2:25", syscall.ENETUNREACH)
		l := n.Listen("192.0.2.4:25")
		for addr, want := range map[string]error{
			"192.0.2.1:25": os.ErrDeadlineExceeded, "192.0.2.2:25": syscall.ENETUNREACH,
			"192.0.2.3:25": syscall.ECONNREFUSED, "192.0.2.4:25": nil,
		} {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			c, err := n.DialContext(ctx, "tcp", addr)
			cancel()
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", addr, err, want)
			}
			if took := time.Since(began); errors.Is(want, os.ErrDeadlineExceeded) != (took == 30*time.Second) {
				t.Errorf("%s took %s", addr, took)
			}
			if c != nil {
				_ = l.Close()
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("connection that nobody accepted: %v", err)
				}
				_ = c.Close()
			}
		}
		if _, err := n.DialContext(t.Context(), "tcp", "192.0.2.4:25"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("after the listener was closed: %v", err)
		}
		if _, err := n.DialContext(t.Context(), "tcp", "mx.example.test:25"); err == nil {
			t.Error("dialled a name")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := n.DialContext(ctx, "tcp", "192.0.2.4:25"); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled dial: %v", err)
		}
		if got := n.Dials(); len(got) != 5 || !slices.Contains(got, netip.MustParseAddrPort("192.0.2.3:25")) {
			t.Errorf("dials %s", fmt.Sprint(got))
		}
	})
}
