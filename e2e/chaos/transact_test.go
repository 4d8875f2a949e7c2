// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"net/textproto"
	"testing"
)

// transact sends a message to recipients r0, r1 … and returns the code its dot was answered with, "" when the connection
// was closed instead.
func transact(t *testing.T, addr, id string, recipients int) string {
	t.Helper()
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say := func(want int, format string, args ...any) {
		t.Helper()
		if format != "" {
			if err := c.PrintfLine(format, args...); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := c.ReadResponse(want); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
	}
	say(220, "")
	say(250, "EHLO client.example")
	say(250, "MAIL FROM:<a@b>")
	for n := range recipients {
		want := 250
		if n == 2 {
			want = 452
		}
		say(want, "RCPT TO:<r%d@x>", n)
	}
	say(354, "DATA")
	if err := c.PrintfLine("Message-ID: <%s>\r\n\r\ntext\r\n.", id); err != nil {
		t.Fatal(err)
	}
	code, _, err := c.ReadResponse(0)
	if code == 0 && err != nil {
		return ""
	}
	return fmt.Sprint(code)
}
