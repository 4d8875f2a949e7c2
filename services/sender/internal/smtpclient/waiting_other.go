// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package smtpclient

// inputWaiting is not known on this system; the reading goroutine finds out by itself.
func (w *wire) inputWaiting() bool { return false }
