// SPDX-License-Identifier: Apache-2.0

//go:build unix

package smtpclient

import "syscall"

// inputWaiting reports that the kernel holds input, or the end of it, that the reading goroutine has not come to yet:
// on a busy machine the writer may be far ahead of it.
func (w *wire) inputWaiting() bool {
	raw, ok := w.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return false
	}
	waiting := false
	_ = control.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waiting = err == nil
	})
	return waiting
}
