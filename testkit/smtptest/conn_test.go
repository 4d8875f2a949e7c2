// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// recorder is a testing.TB that keeps the errors reported to it.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) end() {
	for _, f := range r.cleanups {
		f()
	}
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.errors, "\n")
}

// talk runs one conversation with a client and waits for both.
func talk(t *testing.T, server Conversation, client func(c *client)) {
	t.Helper()
	s := Serve(t, server)
	c := dial(t, s.Addr())
	client(c)
	_ = c.conn.Close()
	s.Wait(1, patience)
}

func TestConversationSteps(t *testing.T) {
	t.Parallel()
	message := "Subject: x\r\n\r\n.a\r\n"
	talk(t, func(c *Conn) {
		if line := c.Greet("mx.example.test", "PIPELINING", "SIZE 1000"); line != "EHLO client.test" {
			t.Errorf("EHLO line %q", line)
		}
		mail, rcpts := c.Envelope()
		if mail != "MAIL FROM:<a@x.test>" || len(rcpts) != 2 || rcpts[1] != "RCPT TO:<c@x.test>" {
			t.Errorf("envelope %q %q", mail, rcpts)
		}
		got, raw := c.ReadData()
		if string(got) != message || string(raw) != "Subject: x\r\n\r\n..a\r\n.\r\n" {
			t.Errorf("data %q, raw %q", got, raw)
		}
		c.Send("250 ok\r\n")
		if got := c.Take(); len(got) != 0 {
			t.Errorf("second message %q", got)
		}
		c.Quit()
		if !strings.Contains(c.Transcript(), `C: "MAIL FROM:<a@x.test>"`) {
			t.Errorf("transcript %s", c.Transcript())
		}
	}, func(c *client) {
		c.want("220 mx.example.test ESMTP\r\n")
		c.cmd("EHLO client.test", "250-mx.example.test\r\n250-PIPELINING\r\n250 SIZE 1000\r\n")
		c.send("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n")
		for _, p := range []string{"250", "250", "250", "354"} {
			c.want(p)
		}
		c.send("Subject: x\r\n\r\n..a\r\n.\r\n")
		c.want("250")
		c.cmd("MAIL FROM:<>", "250")
		c.cmd("RCPT TO:<b@x.test>", "250")
		c.cmd("DATA", "354")
		c.send(".\r\n")
		c.want("250")
		c.cmd("QUIT", "221")
	})
}

// TestConversationFailures departs from the script in each way that a step must notice.
func TestConversationFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, send, want string
		server           Conversation
	}{
		{"other command", "HELO x\r\n", `got "HELO x", want a line that begins with "EHLO"`, func(c *Conn) { c.Expect("EHLO") }},
		{"bare LF", "EHLO x\n", `bare CR or LF in "EHLO x"`, func(c *Conn) { c.Expect("EHLO") }},
		{"closed", "", "read a line: EOF", func(c *Conn) { c.ReadLine() }},
		{"half a line", "EHL", "unexpected EOF after the unfinished line", func(c *Conn) { c.ReadLine() }},
		{"half a message", "Subject: x\r\n", "read message data: unexpected EOF", func(c *Conn) { c.ReadData() }},
		{"too few octets", "abc", "read 4 octets, got 3", func(c *Conn) { c.ReadN(4) }},
		{"not quiet", "x", `the client sent "x", want it to close`, func(c *Conn) { c.ExpectClosed() }},
		{"DATA before RCPT", "MAIL FROM:<>\r\nDATA\r\n", `got "DATA", want RCPT or, after one, DATA`, func(c *Conn) { c.Envelope() }},
		{"something for nothing", "x", `the client sent "x", want nothing`, func(c *Conn) { c.ExpectNothing(patience) }},
		{"closed for nothing", "", `the client closed (fin), want nothing`, func(c *Conn) { c.ExpectNothing(patience) }},
		{"no handshake", "EHLO x\r\n", "TLS handshake: ", func(c *Conn) { c.StartTLS(NewCA(t).ServerConfig("x")) }},
		{"not in time", "\x00", "i/o timeout", func(c *Conn) { c.ReadN(1); c.SetLimit(time.Millisecond); c.ReadLine() }},
		{"not closed", "\x00", "did not close within", func(c *Conn) { c.ReadN(1); c.SetLimit(time.Millisecond); c.ExpectClosed() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rec := &recorder{TB: t}
			s := Serve(rec, func(c *Conn) {
				tc.server(c)
				t.Error("the conversation went on after the failure")
			})
			c := dial(t, s.Addr())
			c.send(tc.send)
			if tc.send != "\x00" {
				_ = c.conn.(*net.TCPConn).CloseWrite()
			}
			_, _ = io.Copy(io.Discard, c.br)
			s.Wait(1, patience)
			rec.end()
			if !strings.Contains(rec.all(), tc.want) || !strings.Contains(rec.all(), "connection 1") {
				t.Errorf("reported %q, want %q", rec.all(), tc.want)
			}
		})
	}
}

func TestFailuresAfterTheEndAreQuiet(t *testing.T) {
	t.Parallel()
	rec := &recorder{TB: t}
	reading := make(chan struct{})
	s := Serve(rec, func(c *Conn) { close(reading); c.Expect("EHLO") })
	dial(t, s.Addr())
	<-reading
	rec.end()
	if got := rec.all(); got != "" {
		t.Errorf("reported %q", got)
	}
}

func TestWaitFailsInTime(t *testing.T) {
	t.Parallel()
	rec := &recorder{TB: t}
	s := Serve(rec, func(c *Conn) { c.Silent() })
	done := make(chan struct{})
	go func() { defer close(done); s.Wait(1, time.Millisecond) }()
	<-done
	rec.end()
	if got := rec.all(); !strings.Contains(got, "0 of 1 connections") {
		t.Errorf("reported %q", got)
	}
}

func TestConversationPerConnection(t *testing.T) {
	t.Parallel()
	say := func(text string) Conversation {
		return func(c *Conn) { c.Send(fmt.Sprintf("220 %s %d\r\n", text, c.N)) }
	}
	s := Serve(t, say("first"), say("rest"))
	for i, want := range []string{"220 first 1", "220 rest 2", "220 rest 3"} {
		c := dial(t, s.Addr())
		c.want(want)
		s.Wait(i+1, patience)
	}
	if s.Accepted() != 3 || s.Running() != 0 {
		t.Errorf("%d accepted, %d running", s.Accepted(), s.Running())
	}
}

func TestSilent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(c *client)
		want CloseKind
	}{
		"fin":   {func(c *client) { _ = c.conn.Close() }, ClosedFIN},
		"reset": {func(c *client) { _ = reset(c.conn) }, ClosedReset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			talk(t, func(c *Conn) {
				c.Send("220\r\n")
				c.Expect("EHLO")
				began := time.Now()
				end := c.Silent()
				if end.Kind != tc.want || end.At.Before(began) || end.After < 0 {
					t.Errorf("end %+v", end)
				}
				if tc.want == ClosedFIN && (string(end.Rest) != "NOOP\r\n" || end.Total != 6) {
					t.Errorf("rest %q of %d", end.Rest, end.Total)
				}
			}, func(c *client) {
				c.want("220")
				c.send("EHLO x\r\n")
				if tc.want == ClosedFIN {
					c.send("NOOP\r\n")
				}
				tc.end(c)
			})
		})
	}
}

func TestFINThenReads(t *testing.T) {
	t.Parallel()
	talk(t, func(c *Conn) {
		c.Send("421 going\r\n")
		c.FIN()
		c.Expect("QUIT")
		c.ExpectClosed()
	}, func(c *client) {
		c.want("421")
		if err := c.end(); err != nil {
			t.Error(err)
		}
		c.send("QUIT\r\n")
	})
}

func TestReset(t *testing.T) {
	t.Parallel()
	talk(t, func(c *Conn) {
		c.Expect("EHLO")
		c.Reset()
	}, func(c *client) {
		c.send("EHLO x\r\n")
		if err := c.end(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want ECONNRESET", err)
		}
	})
}

func TestConversationStartTLS(t *testing.T) {
	t.Parallel()
	ca := NewCA(t)
	talk(t, func(c *Conn) {
		c.Greet("mx", "STARTTLS")
		c.Expect("STARTTLS")
		c.Send("220 go\r\n")
		before := c.Received()
		state := c.StartTLS(ca.ServerConfig("mx"))
		if state.ServerName != "mx" {
			t.Errorf("state %+v", state)
		}
		c.Hello("mx")
		if got := c.Received() - before; got != int64(len("EHLO x\r\n")) {
			t.Errorf("%d octets inside TLS", got)
		}
		c.Reset() // also over TLS
	}, func(c *client) {
		under := c.conn
		c.want("220")
		c.cmd("EHLO x", "250")
		c.cmd("STARTTLS", "220")
		c.startTLS(&tls.Config{ServerName: "mx", RootCAs: ca.Pool()})
		c.cmd("EHLO x", "250 mx\r\n")
		if _, err := io.ReadAll(under); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want ECONNRESET", err)
		}
	})
}

// TestStopReading fills the closed window until the client's write blocks, and is released by the client's reset.
func TestStopReading(t *testing.T) {
	t.Parallel()
	for name, wantKind := range map[string]CloseKind{"reset while blocked": ClosedReset, "orderly before": ClosedFIN} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			talk(t, func(c *Conn) {
				c.Send("354 go\r\n")
				if end := c.StopReading(); end.Kind != wantKind {
					t.Errorf("end %+v", end)
				}
			}, func(c *client) {
				c.want("354")
				if wantKind == ClosedFIN {
					c.send("x")
					return
				}
				if err := c.conn.(*net.TCPConn).SetWriteBuffer(4096); err != nil {
					t.Fatal(err)
				}
				var err error
				for err == nil {
					_ = c.conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
					_, err = c.conn.Write(make([]byte, 1<<20))
				}
				if closeKind(err) != ClosedLimit {
					t.Errorf("write: %v, want it to block", err)
				}
				_ = reset(c.conn)
			})
		})
	}
}

func TestStopReadingOverPipe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := Pipe(1000)
		wait := Script(t, server, func(c *Conn) {
			if end := c.StopReading(); end.Kind != ClosedReset || end.After != 3*time.Minute {
				t.Errorf("end %+v", end)
			}
		})
		_ = client.SetWriteDeadline(time.Now().Add(3 * time.Minute))
		if n, err := client.Write(make([]byte, 2000)); n != 1000 || closeKind(err) != ClosedLimit {
			t.Errorf("wrote %d, %v", n, err)
		}
		_ = client.Reset()
		wait()
	})
}

func TestDripInFakeTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		wait := Script(t, server, func(c *Conn) {
			c.Drip("220 slow\r\n", time.Minute)
			c.ExpectNothing(time.Hour)
			c.Drip("421 nobody reads\r\n", time.Minute)
		})
		began := time.Now()
		got := make([]byte, 10)
		if _, err := io.ReadFull(client, got); err != nil || string(got) != "220 slow\r\n" {
			t.Errorf("read %q, %v", got, err)
		}
		if took := time.Since(began); took != 10*time.Minute {
			t.Errorf("took %s", took)
		}
		time.Sleep(90 * time.Minute)
		_ = client.Close()
		wait()
	})
}

func TestFINNeedsAHalf(t *testing.T) {
	t.Parallel()
	rec := &recorder{TB: t}
	client, server := net.Pipe()
	defer client.Close()
	Script(rec, server, func(c *Conn) { c.FIN() })()
	client, server = net.Pipe()
	defer client.Close()
	Script(rec, server, func(c *Conn) { c.Reset() })()
	rec.end()
	if got := rec.all(); !strings.Contains(got, "cannot be half closed") || !strings.Contains(got, "no reset") {
		t.Errorf("reported %q", got)
	}
}

func TestBufferedAndDiscard(t *testing.T) {
	t.Parallel()
	talk(t, func(c *Conn) {
		c.Expect("EHLO")
		if c.Buffered() != len("NOOP\r\n") {
			t.Errorf("%d octets buffered", c.Buffered())
		}
		if n := c.Discard(4); n != 4 {
			t.Errorf("dropped %d", n)
		}
		if n := c.Discard(100); n != 2 {
			t.Errorf("dropped %d", n)
		}
	}, func(c *client) { c.send("EHLO x\r\nNOOP\r\n") })
}

func TestServerCloseEndsConversations(t *testing.T) {
	t.Parallel()
	var end Closed
	s := Serve(t, func(c *Conn) { c.Send("220\r\n"); end = c.Silent() })
	c := dial(t, s.Addr())
	c.want("220")
	s.Close()
	if end.Kind != ClosedHere {
		t.Errorf("end %+v", end)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after Close: %v", err)
	}
}

func TestConnEnds(t *testing.T) {
	t.Parallel()
	talk(t, func(c *Conn) {
		if c.RemoteAddr() != c.NetConn().RemoteAddr() {
			t.Errorf("remote %s", c.RemoteAddr())
		}
		c.Expect("EHLO")
		c.Close()
		if err := c.TrySend("250\r\n"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send after Close: %v", err)
		}
		if _, err := c.TryReadLine(); closeKind(err) != ClosedHere {
			t.Errorf("read after Close: %v", err)
		}
	}, func(c *client) {
		c.send("EHLO x\r\n")
		if err := c.end(); err != nil {
			t.Errorf("got %v, want end of file", err)
		}
	})
}

// TestQuitNeedsNo221 lets a client go without waiting for the reply (S-73).
func TestQuitNeedsNo221(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := Pipe(0)
		wait := Script(t, server, func(c *Conn) {
			c.Expect("MAIL")
			time.Sleep(time.Second) // the client has gone by now
			c.Quit()
		})
		_, _ = io.WriteString(client, "MAIL FROM:<>\r\nQUIT\r\n")
		_ = client.Close()
		wait()
	})
}

func TestSendFails(t *testing.T) {
	t.Parallel()
	rec := &recorder{TB: t}
	client, server := net.Pipe()
	_ = client.Close()
	Script(rec, server, func(c *Conn) { c.Send("220\r\n") })()
	rec.end()
	if got := rec.all(); !strings.Contains(got, `send "220\r\n": io: read/write on closed pipe`) {
		t.Errorf("reported %q", got)
	}
}
