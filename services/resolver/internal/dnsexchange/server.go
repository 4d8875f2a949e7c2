// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// plainFor is how long a server without EDNS0 is asked without it.
const plainFor = 10 * time.Minute

// server is what is remembered of one server beside its health.
type server struct {
	addr    netip.AddrPort
	trusted bool
	proven  atomic.Bool  // it answered something once
	plain   atomic.Int64 // unix nanoseconds until which it is asked without EDNS0
}

func (s *server) edns(now time.Time) bool { return now.UnixNano() >= s.plain.Load() }

func (s *server) noEDNS(now time.Time) { s.plain.Store(now.Add(plainFor).UnixNano()) }
