// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/testkit/smtptest"
)

// sink answers as fast as it can and looks at little, so that the client's work is what is measured.
func sink(b *testing.B, extensions string) net.Addr {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go drain(c, extensions)
		}
	}()
	return l.Addr()
}

// drain serves one client that pipelines: it answers each group as a whole.
func drain(c net.Conn, extensions string) {
	defer c.Close()
	_, _ = c.Write([]byte("220 sink\r\n"))
	buf := make([]byte, 256<<10)
	tail := make([]byte, 0, 8)
	inData := false
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		in := buf[:n]
		switch {
		case inData:
			tail = append(tail, in[max(0, len(in)-5):]...)
			tail = tail[max(0, len(tail)-5):]
			if bytes.HasSuffix(tail, []byte("\r\n.\r\n")) {
				inData = false
				_, _ = c.Write([]byte("250 2.0.0 queued\r\n"))
			}
		case bytes.HasPrefix(in, []byte("EHLO")):
			_, _ = c.Write([]byte("250-sink\r\n" + extensions))
		case bytes.HasSuffix(in, []byte("DATA\r\n")):
			inData, tail = true, tail[:0]
			_, _ = c.Write([]byte("250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go ahead\r\n"))
		default:
			return
		}
	}
}

func benchmarkSend(b *testing.B, size int) {
	o := Options{
		Address: addrPort(sink(b, "250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n")), Hostname: clientName,
		TLS: TLSPolicy{Mode: TLSOff}, Timeouts: DefaultTimeouts(),
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, fail := Dial(ctx, o)
	if fail != nil {
		b.Fatal(fail)
	}
	defer c.Quit()
	content := []byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64))
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		m := &Message{
			From: "sender@example.test", Recipients: []Recipient{{Address: "a@example.test"}}, Size: int64(len(content)),
			Body: bytes.NewReader(content), NoDotLines: true,
		}
		if r := c.Send(ctx, m); r.Recipients[0].Failure != nil {
			b.Fatal(r.Recipients[0].Failure)
		}
	}
}

// One message over a kept connection, the receiving side in the same process.
func BenchmarkSend2KiB(b *testing.B)   { benchmarkSend(b, 2<<10) }
func BenchmarkSend256KiB(b *testing.B) { benchmarkSend(b, 256<<10) }

// A whole session for one message.
func BenchmarkSession2KiB(b *testing.B) {
	host, err := smtptest.StartHost(smtptest.HostOptions{DiscardBody: true})
	if err != nil {
		b.Fatal(err)
	}
	defer host.Close()
	o := Options{Address: host.Addr(), Hostname: clientName, TLS: TLSPolicy{Mode: TLSOff}, Timeouts: DefaultTimeouts()}
	content := []byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", 32))
	b.ReportAllocs()
	for b.Loop() {
		c, fail := Dial(context.Background(), o)
		if fail != nil {
			b.Fatal(fail)
		}
		m := &Message{
			From: "sender@example.test", Recipients: []Recipient{{Address: "a@example.test"}}, Size: int64(len(content)),
			Body: bytes.NewReader(content),
		}
		if r := c.Send(context.Background(), m); r.Recipients[0].Failure != nil {
			b.Fatal(r.Recipients[0].Failure)
		}
		c.Quit()
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
