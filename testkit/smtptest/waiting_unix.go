// SPDX-License-Identifier: Apache-2.0

//go:build unix

package smtptest

import (
	"net"
	"syscall"
)

// waiting reports whether a connection has input that was not read yet, without waiting for it. Of kinds of
// connection that it does not know it says no.
func waiting(c net.Conn) bool {
	if p, ok := c.(*PipeConn); ok {
		return p.pending()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	_ = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return n > 0
}
