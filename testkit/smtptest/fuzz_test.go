// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bufio"
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
)

func mustAddr(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return ap
}

// readAll reads one message from wire through a buffer of a size; rest is what follows the final dot.
func readAll(t *testing.T, wire []byte, size int) (message, rest, raw []byte, err error) {
	t.Helper()
	br := bufio.NewReaderSize(bytes.NewReader(wire), size)
	d := dataReader{
		br:      br,
		each:    func(p []byte) error { message = append(message, p...); return nil },
		rawEach: func(p []byte) { raw = append(raw, p...) },
	}
	if err = d.read(); err != nil {
		return message, nil, raw, err
	}
	checkCounts(t, &d, message)
	rest, err = io.ReadAll(br)
	return message, rest, raw, err
}

// checkCounts holds what was counted on the way against the whole message.
func checkCounts(t *testing.T, d *dataReader, message []byte) {
	t.Helper()
	joined := strings.ReplaceAll(string(message), "\r\n", "x")
	cr, lf := strings.Count(joined, "\r"), strings.Count(joined, "\n")
	eight := strings.ContainsFunc(string(message), func(r rune) bool { return r >= 0x80 })
	if d.bareCR != cr || d.bareLF != lf || d.eightBit != eight || d.size != int64(len(message)) {
		t.Fatalf("%q: %d bare CR, %d bare LF, 8-bit %v, size %d", message, d.bareCR, d.bareLF, d.eightBit, d.size)
	}
}

// FuzzData holds the reader of message data against a plain search for the first CRLF.CRLF, for several sizes of
// buffer.
func FuzzData(f *testing.F) {
	for _, s := range []string{
		".\r\n", "a\r\n.\r\n", "a\n.\r\n\r\n.\r\n", "..\r\n.\r\n", ".\r.\r\n\r\n.\r\nQUIT\r\n", "\r\n..\r\n.a\r\n.\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		end := strings.Index("\r\n"+string(wire), "\r\n.\r\n")
		for _, size := range []int{16, 17, 64, 32 << 10} {
			message, rest, raw, err := readAll(t, wire, size)
			if end < 0 {
				if err == nil {
					t.Fatalf("size %d: %q ended in %q", size, wire, message)
				}
				continue
			}
			stuffed := string(wire[:end])
			want := strings.ReplaceAll("\r\n"+stuffed, "\r\n.", "\r\n")[2:]
			if err != nil || string(message) != want || string(raw) != stuffed+".\r\n" ||
				string(rest) != string(wire[end+3:]) {
				t.Fatalf("size %d: %q gave %q (want %q), rest %q, %v", size, wire, message, want, rest, err)
			}
		}
	})
}

// FuzzPath holds that a path taken from MAIL or RCPT is what stands between its brackets.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"FROM:<>", `FROM:<"a> b"@x> SIZE=1`, "from:<a@b>X", "FROM:<a", `FROM:<"\">"@x>`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		addr, params, err := parsePath(arg, "FROM:")
		if err != nil {
			return
		}
		back := "FROM:<" + addr + ">"
		for _, p := range params {
			if strings.ContainsAny(p, " \t") {
				t.Fatalf("parameter %q", p)
			}
		}
		if !strings.HasPrefix(strings.ToUpper(arg[:5])+arg[5:], back) {
			t.Fatalf("%q gave %q", arg, addr)
		}
	})
}
