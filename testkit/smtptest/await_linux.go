// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"net"

	"golang.org/x/sys/unix"
)

// TCP states (include/net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpCloseWait   = 8
)

// awaitPeer blocks until the peer has ended the connection, without reading from it.
func awaitPeer(c *net.TCPConn) CloseKind {
	raw, err := c.SyscallConn()
	if err != nil {
		return closeKind(err)
	}
	kind := ClosedError
	err = raw.Read(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		switch {
		case err != nil:
			return true
		case info.State == tcpEstablished:
			return false // wait for the next event
		case info.State == tcpCloseWait:
			kind = ClosedFIN
		default:
			kind = ClosedReset
		}
		return true
	})
	if err != nil {
		return closeKind(err)
	}
	return kind
}
