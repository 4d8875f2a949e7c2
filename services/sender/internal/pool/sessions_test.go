// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"crypto/tls"
	"net/netip"
	"testing"
)

func TestSessionsAreKeptByKind(t *testing.T) {
	var s Sessions
	one, two := Key{address: first}, Key{address: second}
	state := &tls.ClientSessionState{}
	s.For(one).Put("mx.example.test", state)
	if got, ok := s.For(one).Get("another name"); !ok || got != state {
		t.Errorf("got %v, %t", got, ok)
	}
	if _, ok := s.For(two).Get("mx.example.test"); ok {
		t.Error("another kind of session has it")
	}
	other := &tls.ClientSessionState{}
	s.For(one).Put("", other)
	if got, _ := s.For(one).Get(""); got != other {
		t.Error("the newer one does not count")
	}
	s.For(one).Put("", nil)
	s.For(two).Put("", nil)
	if _, ok := s.For(one).Get(""); ok || s.recent.Len() != 0 {
		t.Error("not forgotten")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	var s Sessions
	key := func(i int) Key {
		return Key{address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 25)}
	}
	for i := range maxSessions {
		s.For(key(i)).Put("", &tls.ClientSessionState{})
	}
	s.For(key(0)).Get("")
	s.For(key(maxSessions)).Put("", &tls.ClientSessionState{})
	if len(s.byKey) != maxSessions || s.recent.Len() != maxSessions {
		t.Errorf("%d sessions", len(s.byKey))
	}
	if _, ok := s.For(key(1)).Get(""); ok {
		t.Error("the one not used for longest is still there")
	}
	if _, ok := s.For(key(0)).Get(""); !ok {
		t.Error("one used since is gone")
	}
}

func TestWithoutSessionsNothingIsResumed(t *testing.T) {
	var s *Sessions
	if s.For(Key{}) != nil {
		t.Error("a cache")
	}
}
