// SPDX-License-Identifier: Apache-2.0

// Package hostmemory remembers for a few minutes which addresses of mail hosts did not work: they accepted no connection,
// sent no greeting (S-02, S-11), or closed in the middle of the content (S-59). They are tried last meanwhile, by all
// messages. This departs from the order of RFC 5321, section 5.1, on purpose: the host still gets its turn.
//
// It does not decide which hosts are tried, and nothing of it outlives the process.
package hostmemory

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// Span is how long a failure is remembered.
	Span = 5 * time.Minute
	// most bounds the addresses remembered; beyond, those that are over are forgotten, and as many others as it takes to
	// have kept left.
	most = 20_000
	kept = most / 8 * 7
)

// Memory is what is remembered. The zero value remembers nothing yet. It is safe for use by many goroutines; a nil Memory
// stays empty.
type Memory struct {
	mu    sync.RWMutex
	until map[netip.AddrPort]time.Time
}

// Failed notes that an address did not work.
func (m *Memory) Failed(address netip.AddrPort) {
	if m == nil {
		return
	}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = make(map[netip.AddrPort]time.Time)
	}
	if len(m.until) >= most {
		m.shrink(now)
	}
	m.until[address] = now.Add(Span)
}

// shrink makes room; m.mu is held.
func (m *Memory) shrink(now time.Time) {
	for address, until := range m.until {
		if !now.Before(until) {
			delete(m.until, address)
		}
	}
	for address := range m.until {
		if len(m.until) < kept {
			return
		}
		delete(m.until, address)
	}
}

// Worked forgets an address.
func (m *Memory) Worked(address netip.AddrPort) {
	if !m.Fails(address) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, address)
}

// Fails reports that an address did not work lately.
func (m *Memory) Fails(address netip.AddrPort) bool {
	if m == nil {
		return false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	until, noted := m.until[address]
	return noted && time.Now().Before(until)
}
