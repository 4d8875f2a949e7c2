// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Script holds one conversation over the server's end of any connection, net.Pipe included, in a goroutine of its
// own; the connection is closed when it ends. The returned wait blocks until then. The end of the test closes the
// connection and waits too. The steps have no time limit (see [Conn.SetLimit]), so that minutes of fake time can pass
// in a testing/synctest bubble; there, the call must be made inside the bubble.
func Script(tb testing.TB, server net.Conn, talk Conversation) (wait func()) {
	tb.Helper()
	var ending atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		defer server.Close()
		c := newConn(tb, server, 1, &ending)
		c.SetLimit(0)
		talk(c)
	})
	tb.Cleanup(func() {
		ending.Store(true)
		_ = server.Close()
		running.Wait()
	})
	return running.Wait
}
