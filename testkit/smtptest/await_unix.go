// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package smtptest

import (
	"errors"
	"net"
	"syscall"
)

// awaitPeer blocks until the peer has ended the connection, without taking input from it. A FIN behind input that
// nobody reads is not seen here.
func awaitPeer(c *net.TCPConn) CloseKind {
	raw, err := c.SyscallConn()
	if err != nil {
		return closeKind(err)
	}
	var ended error
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if n > 0 || errors.Is(err, syscall.EAGAIN) {
			return false // wait for the next event
		}
		ended = err // nil: end of file
		return true
	})
	if err != nil {
		return closeKind(err)
	}
	return closeKind(ended)
}
