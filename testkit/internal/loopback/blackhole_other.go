// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package loopback

import (
	"errors"
	"fmt"
	"net/netip"
)

// IgnoreTCP is known for Linux only; elsewhere a full backlog refuses.
func IgnoreTCP(addr netip.AddrPort) (*Reservation, error) {
	return nil, fmt.Errorf("loopback: ignore connections to %s: %w", addr, errors.ErrUnsupported)
}
