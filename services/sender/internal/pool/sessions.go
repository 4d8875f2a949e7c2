// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"container/list"
	"crypto/tls"
	"sync"
)

// maxSessions bounds the TLS sessions kept; the one not used for longest is forgotten first.
const maxSessions = 10_000

// Sessions keeps TLS sessions for resumption (RFC 8446, section 2.2), each only for sessions that are alike: what one
// policy has let in is never shown under another. It is safe for use by many goroutines; nil keeps none.
type Sessions struct {
	mu     sync.Mutex
	byKey  map[Key]*list.Element
	recent list.List // of *ticket, the last used first
}

type ticket struct {
	key   Key
	state *tls.ClientSessionState
}

// For returns what remembers the session of one kind.
func (s *Sessions) For(key Key) tls.ClientSessionCache {
	if s == nil {
		return nil
	}
	return sessionOf{s, key}
}

// sessionOf is a cache of one session: the name under which crypto/tls asks says less than the key.
type sessionOf struct {
	all *Sessions
	key Key
}

// Get implements tls.ClientSessionCache.
func (c sessionOf) Get(string) (*tls.ClientSessionState, bool) {
	s := c.all
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[c.key]
	if e == nil {
		return nil, false
	}
	s.recent.MoveToFront(e)
	return e.Value.(*ticket).state, true
}

// Put implements tls.ClientSessionCache. nil forgets.
func (c sessionOf) Put(_ string, state *tls.ClientSessionState) {
	s := c.all
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[c.key]
	switch {
	case e != nil && state == nil:
		s.remove(e)
	case state == nil:
	case e != nil:
		e.Value.(*ticket).state = state
		s.recent.MoveToFront(e)
	default:
		if s.byKey == nil {
			s.byKey = map[Key]*list.Element{}
		}
		if s.recent.Len() >= maxSessions {
			s.remove(s.recent.Back())
		}
		s.byKey[c.key] = s.recent.PushFront(&ticket{c.key, state})
	}
}

func (s *Sessions) remove(e *list.Element) {
	s.recent.Remove(e)
	delete(s.byKey, e.Value.(*ticket).key)
}
