// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/testkit/smtptest"
)

// big is more than two socket buffers take, so that a write blocks when the host does not read.
var big = strings.Repeat(strings.Repeat("x", 998)+"\r\n", 20_000)

// bigMessage has the content in memory, bigFile in a file that goes out by sendfile.
func bigMessage(*testing.T) *Message { return newMessage(big, "a@example.test", "b@example.test") }

func bigFile(t *testing.T) *Message {
	t.Helper()
	m := bigMessage(t)
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, []byte(big), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	m.Body, m.NoDotLines = f, true
	return m
}

// interrupted is what a host does in the middle of the content, and what must come of it.
type interrupted struct {
	name   string
	during smtptest.Conversation // the envelope is done and some content was read
	want   string
	reason smtpreply.Reason
	status string
	free   bool // the connection was closed by the host already
}

func interruptions() []interrupted {
	say := func(reply string) smtptest.Conversation { return func(s *smtptest.Conn) { s.Send(reply) } }
	return []interrupted{
		{name: "552", during: say("552 message too large\r\n"), want: "552 550", status: "5.3.4"},
		{name: "552, 421, FIN", during: func(s *smtptest.Conn) {
			s.Send("552 Requested mail action aborted: exceeded storage allocation\r\n421 closing\r\n")
			_ = s.NetConn().(interface{ CloseWrite() error }).CloseWrite() // the client may have reset by now
		}, want: "552 550", status: "5.3.4"},
		{name: "421", during: say("421 4.3.2 shutting down\r\n"), want: "421 550", status: "4.3.2"},
		{name: "451", during: say("451-4.3.0 disk\r\n451 4.3.0 full\r\n"), want: "451 550", status: "4.3.0"},
		{name: "554", during: say("554 5.7.1 virus\r\n"), want: "554 550", status: "5.7.1"},
		{name: "S-58: 250", during: say("250 2.0.0 queued\r\n"), want: "250 550", reason: smtpreply.ReasonProtocol, status: "4.5.0"},
		{name: "S-58: 354", during: say("354 go on\r\n"), want: "354 550", reason: smtpreply.ReasonProtocol, status: "4.5.0"},
		{name: "no reply at all", during: say("ERROR too big\r\n"), want: "protocol 550", reason: smtpreply.ReasonProtocol, status: "4.5.0"},
		{name: "S-59: FIN", during: func(s *smtptest.Conn) { s.FIN() }, want: "connection_lost 550", reason: smtpreply.ReasonConnectionLost, status: "4.4.2"},
		{name: "S-59: RST", during: func(s *smtptest.Conn) { s.Reset() }, want: "connection_lost 550", reason: smtpreply.ReasonConnectionLost, status: "4.4.2", free: true},
	}
}

// The client stops at once: no dot, no QUIT, a reset, everything free, though its write blocks. Over a pipe with a window
// not an instant of the bubble's time passes; S-59 allows a second.
func TestS57_S58_S59_InputIsSeenAtOnce(t *testing.T) {
	for _, read := range []int{0, 1 << 20} {
		for _, c := range interruptions() {
			t.Run(map[int]string{0: "window shut", 1 << 20: "host reads"}[read]+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := newOptions(t)
					o.Dial = func(context.Context, string, string) (net.Conn, error) {
						client, server := smtptest.Pipe(0)
						t.Cleanup(smtptest.Script(t, server, func(s *smtptest.Conn) {
							s.Greet(mxName, "PIPELINING")
							answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "550 5.1.1 no", "DATA", "354 go")
							s.ReadN(read)
							time.Sleep(time.Second) // the client's write blocks before the bubble's clock moves
							c.during(s)
							if !c.free {
								checkReset(s)
							}
						}))
						return client, nil
					}
					conn := mustDial(t, o)
					began := time.Now()
					r := conn.Send(t.Context(), bigMessage(t))
					if took := time.Since(began); took != time.Second {
						t.Errorf("noticed after %s", took-time.Second)
					}
					wantCodes(t, r, c.want)
					check(t, r.Recipients[0].Failure, smtpreply.StageContent, c.reason, c.status)
					conn.Quit()
				})
			})
		}
	}
}

// The same with the kernel's sockets, from memory and by sendfile.
func TestS57_S58_S59_InputWhileContentIsSent(t *testing.T) {
	for _, kind := range []struct {
		name    string
		message func(*testing.T) *Message
	}{{"memory", bigMessage}, {"file", bigFile}} {
		for _, read := range []int{0, 1 << 20} {
			for _, c := range interruptions() {
				name := kind.name + "/" + map[int]string{0: "window shut", 1 << 20: "host reads"}[read] + "/" + c.name
				t.Run(name, func(t *testing.T) {
					sockets, done := make(chan net.Conn, 1), make(chan struct{})
					over(t, func(t *testing.T, o Options) {
						o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
							socket, err := new(net.Dialer).DialContext(ctx, network, address)
							sockets <- socket
							return socket, err
						}
						conn := mustDial(t, o)
						r := conn.Send(t.Context(), kind.message(t))
						close(done)
						wantCodes(t, r, c.want)
						check(t, r.Recipients[0].Failure, smtpreply.StageContent, c.reason, c.status)
						if conn.Usable() {
							t.Error("still usable")
						}
						conn.Quit()
					}, func(s *smtptest.Conn) {
						s.Greet(mxName, "PIPELINING")
						answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "550 5.1.1 no", "DATA", "354 go")
						s.ReadN(read)
						awaitFull(s, <-sockets)
						c.during(s)
						if read == 0 {
							select { // without reading a single octet
							case <-done:
							case <-time.After(time.Minute):
								s.Fail("the client does not give up")
							}
						}
						if !c.free {
							checkReset(s)
						}
					})
				})
			}
		}
	}
}

// awaitFull waits until the kernel takes nothing more from a socket, so that a write to it blocks.
func awaitFull(s *smtptest.Conn, socket net.Conn) {
	raw, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		s.Fail("%v", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		ready := 0
		err := raw.Control(func(fd uintptr) {
			ready, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
		})
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			s.Fail("poll: %v", err)
		case ready == 0 && err == nil:
			return
		case time.Now().After(end):
			s.Fail("the socket never fills")
		}
	}
}

// checkReset reads what is still there: no final dot, no QUIT, and at the end a reset.
func checkReset(s *smtptest.Conn) {
	end := s.Silent()
	if end.Kind != smtptest.ClosedReset {
		s.Fail("closed by %s, want a reset", end.Kind)
	}
	if bytes.Contains(end.Rest, []byte("\r\n.\r\n")) || bytes.Contains(end.Rest, []byte("QUIT")) {
		s.Fail("a dot or QUIT was sent")
	}
}

func TestS57_ReplyDuringContentUnderTLS(t *testing.T) {
	conf := smtptest.NewCA(t).ServerConfig(mxName)
	sockets := make(chan net.Conn, 1)
	over(t, func(t *testing.T, o Options) {
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			socket, err := new(net.Dialer).DialContext(ctx, network, address)
			sockets <- socket
			return socket, err
		}
		wantCodes(t, mustDial(t, o).Send(t.Context(), bigMessage(t)), "552 550")
	}, startTLS(conf, func(s *smtptest.Conn) {
		s.Hello(mxName)
		answers(s, "MAIL", "250 ok", "RCPT", "250 ok", "RCPT", "550 5.1.1 no", "DATA", "354 go")
		awaitFull(s, <-sockets)
		s.Send("552 5.3.4 too large\r\n")
		s.Silent()
	}))
}

// A reply behind the 354, in the same segment, is there before the first octet of content.
func TestS57_ReplyTogetherWith354(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"552": {"552 5.3.4 too large\r\n", "552"}, "250": {"250 2.0.0 queued\r\n", "250"}, "part of one": {"552 5.3", "protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				conn := mustDial(t, o)
				r := conn.Send(t.Context(), newMessage(body, "a@example.test"))
				wantCodes(t, r, c.want)
				if r.ContentWritten != 0 {
					t.Errorf("%d octets sent", r.ContentWritten)
				}
			}, func(s *smtptest.Conn) {
				s.Greet(mxName)
				answers(s, "MAIL", "250 ok", "RCPT", "250 ok")
				s.Expect("DATA")
				s.Send("354 go\r\n" + c.reply)
				s.Silent()
			})
		})
	}
}

// A 2yz that comes before the host has taken the dot is none for the dot, also when only the dot is left to write, and
// when the host takes it later.
func TestS58_EarlySuccessIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		taken int
		later bool
	}{
		"nothing read": {0, false}, "all but the dot read": {len(body), false},
		"nothing read, the rest a moment later": {0, true}, "all but the dot read, the dot a moment later": {len(body), true},
		"the dot without its CRLF read": {len(body) + 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				conn := mustDial(t, o)
				took := elapsed(func() { wantCodes(t, conn.Send(t.Context(), newMessage(body, "a@example.test")), "250") })
				if took > 0 {
					t.Errorf("took %s", took)
				}
			}, func(s *smtptest.Conn) {
				s.Greet(mxName)
				s.Envelope()
				if _, err := io.ReadFull(s.NetConn(), make([]byte, c.taken)); err != nil {
					s.Fail("%v", err)
				}
				s.Send("250 2.0.0 queued\r\n")
				time.Sleep(lastWords / 2)
				if c.later {
					s.Silent()
				}
				time.Sleep(time.Hour)
			})
		})
	}
}

// The same where content and dot go out in one write that the host's window holds up.
func TestS58_EarlySuccessIsNoneForASmallMessage(t *testing.T) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1) }), err)
	}}
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	small := big[:15_000]
	server := smtptest.ServeOn(t, listener, func(s *smtptest.Conn) {
		s.Greet(mxName)
		s.Envelope()
		s.Send("250 2.0.0 queued\r\n")
		if end := s.StopReading(); end.Kind != smtptest.ClosedReset {
			s.Fail("closed by %s, want a reset", end.Kind)
		}
	})
	o := newOptions(t)
	o.Address = server.Addr()
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetWriteBuffer(1)
		}
		return conn, err
	}
	r := mustDial(t, o).Send(t.Context(), newMessage(small, "a@example.test"))
	wantCodes(t, r, "250")
	check(t, r.Recipients[0].Failure, smtpreply.StageContent, smtpreply.ReasonProtocol, "4.5.0")
	if r.ContentWritten >= int64(len(small)) {
		t.Errorf("%d octets were written", r.ContentWritten)
	}
	server.Wait(1, 10*time.Second)
}

// A reply that comes up to a second behind the failed write counts more than the failure.
func TestS60_ReplyBehindAFailedWrite(t *testing.T) {
	for reply, c := range map[string]struct {
		after time.Duration
		want  string
	}{
		"552 5.3.4 too large\r\n": {500 * time.Millisecond, "552"}, "451 4.3.0 later\r\n": {0, "451"},
		"554 too late\r\n": {2 * time.Second, "connection_lost"},
	} {
		t.Run(reply[:3], func(t *testing.T) {
			piped(t, func(t *testing.T, o Options) {
				dial := o.Dial
				o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					return &failingWriter{Conn: conn, left: 50_000}, err
				}
				conn := mustDial(t, o)
				wantCodes(t, conn.Send(t.Context(), newMessage(big, "a@example.test")), c.want)
			}, func(s *smtptest.Conn) {
				s.Greet(mxName)
				s.Envelope()
				s.ReadN(40_000)
				time.Sleep(c.after)
				_ = s.TrySend(reply)
				s.Silent()
			})
		})
	}
}

// failingWriter is a connection whose writes fail after some octets, while reads go on.
type failingWriter struct {
	net.Conn
	left int
}

func (w *failingWriter) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p[:min(len(p), w.left)])
	w.left -= n
	if err == nil && n < len(p) {
		err = syscall.EPIPE
	}
	return n, err
}

// The content is given up when it cannot be read whole: no dot, a reset, and no host is at fault.
func TestContentThatCannotBeSent(t *testing.T) {
	for name, c := range map[string]struct {
		body io.ReadSeeker
		said bool // a part of it goes out
	}{
		"shorter than said": {bytes.NewReader([]byte(body[:len(body)-2])), false},
		"longer than said":  {bytes.NewReader([]byte(body + "x\r\n")), false},
		"read error":        {&failingBody{Reader: bytes.NewReader([]byte(body))}, true},
		"bare LF":           {bytes.NewReader([]byte(strings.Replace(body, "\r\n\r\n", "\n\r\n\n", 1)[:len(body)])), true},
	} {
		t.Run(name, func(t *testing.T) {
			over(t, func(t *testing.T, o Options) {
				conn := mustDial(t, o)
				m := newMessage(body, "a@example.test")
				m.Body = c.body
				r := conn.Send(t.Context(), m)
				check(t, r.Recipients[0].Failure, smtpreply.StageLocal, smtpreply.ReasonInternal, "4.3.0")
				var bad *ContentError
				if r.BodyErr == nil || !errors.As(r.BodyErr, &bad) {
					t.Errorf("BodyErr %v", r.BodyErr)
				}
				conn.Quit()
			}, func(s *smtptest.Conn) {
				s.Greet(mxName)
				if !c.said {
					s.Quit()
					return
				}
				s.Envelope()
				checkReset(s)
			})
		})
	}
}

func TestBigContentArrivesUnchanged(t *testing.T) {
	for name, message := range map[string]func(*testing.T) *Message{"memory": bigMessage, "file": bigFile} {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " TLS"}[secure], func(t *testing.T) {
				var conf *tls.Config
				if secure {
					conf = smtptest.NewCA(t).ServerConfig(mxName)
				}
				host := smtptest.NewHost(t, smtptest.HostOptions{TLS: conf})
				o := newOptions(t)
				o.Address = host.Addr()
				conn := mustDial(t, o)
				wantCodes(t, conn.Send(t.Context(), message(t)), "taken taken")
				conn.Quit()
				if got := host.Messages()[0]; string(got.Data) != big {
					t.Errorf("%d octets arrived, want %d", len(got.Data), len(big))
				}
			})
		}
	}
}

// failingBody reads half of its content.
type failingBody struct{ *bytes.Reader }

func (b *failingBody) WriteTo(w io.Writer) (int64, error) {
	n, err := io.CopyN(w, b.Reader, 20)
	if err == nil {
		err = &ContentError{"the content cannot be read", io.ErrNoProgress}
	}
	return n, err
}
