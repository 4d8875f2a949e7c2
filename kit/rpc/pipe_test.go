// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"net"
	"testing"
)

// TestPipe_NamesItself: both ends of a connection over memory say so, which is what spans and metrics of calls show as
// server.address, and not what the pipe is made of.
func TestPipe_NamesItself(t *testing.T) {
	p := NewPipe()
	defer p.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := p.Accept() // nil fails below
		accepted <- conn
	}()
	client, err := p.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := <-accepted
	if server == nil {
		t.Fatal("nobody was accepted")
	}
	defer server.Close()
	for _, addr := range []net.Addr{p.Addr(), client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr()} {
		if addr.String() != "in-process" || addr.Network() != "pipe" {
			t.Errorf("address %s %s", addr.Network(), addr)
		}
	}
}
