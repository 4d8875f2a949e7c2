// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Exchange is one query and the answer about to be given. A [Behaviour] changes Reply, or uses the methods to send
// something else and ends with Drop. It is used by one goroutine.
type Exchange struct {
	Query Query
	Msg   *dns.Msg // the query as it came
	Reply *dns.Msg // the honest answer, to be changed at will; it is sent after the last behaviour, cut to size

	srv    *Server
	udp    *net.UDPConn
	peer   netip.AddrPort
	tcp    *net.TCPConn
	done   bool // nothing more is sent
	cut    bool // TCP: the connection has ended
	hang   bool // TCP: nothing more is read either
	untrim bool // the reply is sent whole over UDP
}

// Drop ends the exchange: nothing more is sent for it, and over TCP further queries on the connection are served.
func (x *Exchange) Drop() { x.done = true }

// Hang ends the exchange and leaves a TCP connection open without reading from it again. Over UDP it is Drop.
func (x *Exchange) Hang() { x.done, x.hang = true, true }

// Reset ends the exchange and, over TCP, the connection with RST. Over UDP it is Drop.
func (x *Exchange) Reset() {
	x.done = true
	if x.tcp != nil {
		x.cut = true
		_ = x.tcp.SetLinger(0)
		_ = x.tcp.Close()
	}
}

// Close ends the exchange and, over TCP, the connection with FIN. Over UDP it is Drop.
func (x *Exchange) Close() {
	x.done = true
	if x.tcp != nil {
		x.cut = true
		_ = x.tcp.Close()
	}
}

// Sleep waits, or less when the server is closed meanwhile; it reports whether the time has passed.
func (x *Exchange) Sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.srv.closed:
		x.done = true
		return false
	}
}

// Send sends a message at once, besides Reply, cut to the client's size over UDP.
func (x *Exchange) Send(m *dns.Msg) {
	b, err := x.pack(m)
	if err != nil {
		x.srv.fault("pack an answer for %s: %v", x.Query.Name, err)
		x.done = true
		return
	}
	x.SendRaw(b)
}

// SendRaw sends octets at once, over TCP with a length before them (RFC 1035, section 4.2.2).
func (x *Exchange) SendRaw(b []byte) {
	if x.tcp == nil {
		_, _ = x.udp.WriteToUDPAddrPort(b, x.peer) // a client that has gone is no fault
		return
	}
	x.SendStream(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
}

// SendStream sends octets over TCP without a length, for broken framing. Over UDP it is SendRaw.
func (x *Exchange) SendStream(b []byte) {
	if x.tcp == nil {
		x.SendRaw(b)
		return
	}
	_ = x.tcp.SetWriteDeadline(time.Now().Add(idle))
	if _, err := x.tcp.Write(b); err != nil {
		x.done, x.cut = true, true
	}
}

// SendFromElsewhere sends a message over UDP from another source port of the same address; over TCP it sends nothing.
func (x *Exchange) SendFromElsewhere(m *dns.Msg) {
	if x.tcp != nil {
		return
	}
	b, err := x.pack(m)
	if err != nil {
		x.srv.fault("pack an answer for %s: %v", x.Query.Name, err)
		return
	}
	other, err := net.ListenUDP("udp", &net.UDPAddr{IP: x.srv.addr.Addr().AsSlice()})
	if err != nil {
		x.srv.fault("another source port: %v", err)
		return
	}
	_, _ = other.WriteToUDPAddrPort(b, x.peer)
	_ = other.Close()
}

// pack makes the wire form, truncated to what the client takes over UDP (RFC 2181, section 9).
func (x *Exchange) pack(m *dns.Msg) ([]byte, error) {
	m.Compress = true
	if x.tcp == nil && !x.untrim {
		size := plainSize
		if x.Query.EDNS {
			size = max(size, int(x.Query.UDPSize))
		}
		if m.Len() > size {
			m = m.Copy()
			m.Compress = true
			m.Truncate(size)
		}
	}
	b, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("dnstest: %w", err)
	}
	return b, nil
}
