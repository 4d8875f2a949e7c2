// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReplyText(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"250\r\n": Reply(250), "250 a\r\n": Reply(250, "a"), "250-a\r\n250-b\r\n250 c\r\n": Reply(250, "a", "b", "c"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 70<<10)
	h := NewHost(t, HostOptions{})
	c := dial(t, h.Addr())
	c.want("220")
	c.cmd("NOOP "+long[:60<<10], "250")
	c.send(long)
	c.want("421 4.5.2")
	_, _ = io.Copy(io.Discard, c.br)
	if v := h.ForgiveViolations(); len(v) != 1 || !strings.Contains(v[0], "64 KiB") {
		t.Errorf("violations %q", v)
	}
}

// TestDataReaderParts feeds data in all positions of a small buffer: the final dot must be found in each.
func TestDataReaderParts(t *testing.T) {
	t.Parallel()
	for n := range 100 {
		message := strings.Repeat("y", n) + "\r\n" + ".\n.\r" + strings.Repeat("z", n) + "\r\n"
		wire := strings.ReplaceAll("\r\n"+message, "\r\n.", "\r\n..")[2:] + ".\r\nrest"
		got, rest, _, err := readAll(t, []byte(wire), 16)
		if err != nil || string(got) != message || string(rest) != "rest" {
			t.Fatalf("n=%d: %q, rest %q, %v", n, got, rest, err)
		}
	}
	if _, _, _, err := readAll(t, []byte("a\n.\n\r\n.\rx"), 16); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("another end of data was taken: %v", err)
	}
}
