// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// BenchmarkHost takes pipelined mails of 3 KiB, many a connection; a client of ours must not wait for its sink.
func BenchmarkHost(b *testing.B) {
	h, err := StartHost(HostOptions{CountOnly: true, DiscardBody: true})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	data := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 42) + ".\r\n"
	envelope := "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", h.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		br := bufio.NewReader(c)
		reply := func(n int) {
			for range n {
				if _, err := br.ReadSlice('\n'); err != nil {
					b.Error(err)
					return
				}
			}
		}
		reply(1)
		_, _ = io.WriteString(c, "EHLO c\r\n")
		reply(1 + len(DefaultExtensions()))
		_, _ = io.WriteString(c, envelope)
		reply(3)
		for pb.Next() {
			_, _ = io.WriteString(c, data+envelope)
			reply(4)
		}
	})
	if v := h.Violations(); len(v) > 0 {
		b.Error(v[0])
	}
}
