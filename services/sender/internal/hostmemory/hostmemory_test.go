// SPDX-License-Identifier: Apache-2.0

package hostmemory

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

var one, two = netip.MustParseAddrPort("192.0.2.1:25"), netip.MustParseAddrPort("192.0.2.2:25")

func TestQ14_AFailureIsRememberedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		m.Failed(one)
		if !m.Fails(one) || m.Fails(two) {
			t.Errorf("fails: %t %t", m.Fails(one), m.Fails(two))
		}
		time.Sleep(5*time.Minute - time.Second)
		if !m.Fails(one) {
			t.Error("forgotten too early")
		}
		m.Failed(one) // again: the time begins anew
		time.Sleep(5*time.Minute - time.Second)
		if !m.Fails(one) {
			t.Error("the second failure does not count")
		}
		time.Sleep(time.Second)
		if m.Fails(one) {
			t.Error("remembered too long")
		}
	})
}

func TestQ14_SuccessForgets(t *testing.T) {
	var m Memory
	m.Failed(one)
	m.Failed(two)
	m.Worked(one)
	m.Worked(netip.MustParseAddrPort("192.0.2.3:25"))
	if m.Fails(one) || !m.Fails(two) {
		t.Errorf("fails: %t %t", m.Fails(one), m.Fails(two))
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		fill := func(n int) {
			for i := range n {
				m.Failed(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 25))
			}
		}
		fill(2 * most)
		if n := len(m.until); n > most {
			t.Errorf("%d addresses", n)
		}
		time.Sleep(2 * Span)
		fill(most)
		if n := len(m.until); n != most {
			t.Errorf("%d addresses, want %d: those that are over made room", n, most)
		}
	})
}

func TestNilRemembersNothing(t *testing.T) {
	var m *Memory
	m.Failed(one)
	m.Worked(one)
	if m.Fails(one) {
		t.Error("remembered")
	}
}
