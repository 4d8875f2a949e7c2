// SPDX-License-Identifier: Apache-2.0

package loopback

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fillLimit bounds how long the filling of a backlog may take.
const fillLimit = 10 * time.Second

// IgnoreTCP makes addr swallow connection attempts: it listens with a backlog of none, fills that with a connection
// of its own and accepts nothing, so that the kernel drops every further SYN. With port 0 the kernel chooses the port.
func IgnoreTCP(addr netip.AddrPort) (*Reservation, error) {
	r, err := reserve(addr, syscall.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	if err := fill(r); err != nil {
		r.Release()
		return nil, fmt.Errorf("loopback: ignore connections to %s: %w", r.Addr, err)
	}
	return r, nil
}

// fill listens and connects until the backlog is full.
func fill(r *Reservation) error {
	if err := unix.Listen(r.fd, 0); err != nil {
		return err
	}
	syscall.ForkLock.RLock()
	filler, err := unix.Socket(family(r.Addr), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	r.more = append(r.more, filler)
	if err := syscall.Connect(filler, sockaddr(r.Addr)); err != nil {
		return err
	}
	// The connection counts once it lies in the queue, which may be a moment after the connecting side has it.
	poll := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, int(fillLimit.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(poll, int(fillLimit.Milliseconds()))
	}
	if err == nil && n == 0 {
		err = errors.New("the backlog does not fill")
	}
	return err
}
