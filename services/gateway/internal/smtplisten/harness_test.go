// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/submit"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 20 * time.Second

// taken is a message the submitter got.
type taken struct {
	envelope *gatewayv1.Envelope
	caller   rpc.Caller
	content  string
	received string
	relayed  bool
}

// submitter keeps what the rules of a content let through.
type submitter struct {
	mu       sync.Mutex
	messages []taken
	before   error         // answered before the content is read
	reading  chan struct{} // told when the content is being read, if not nil
}

func (s *submitter) SubmitBy(ctx context.Context, e *gatewayv1.Envelope, src content.Source, by submit.Door) (*gatewayv1.Accepted, error) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if e.GetSender() == "panic@example.org" {
		panic("a fault of ours")
	}
	if before != nil {
		return nil, before
	}
	if s.reading != nil {
		s.reading <- struct{}{}
	}
	rules := content.DefaultRules()
	rules.MaxSize, rules.Relayed = 1<<20, by.Relayed
	r := content.NewReader(src, rules, nil)
	if _, err := r.ReadHeader(); err != nil {
		return nil, inGRPC(err)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, inGRPC(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, taken{
		envelope: e, caller: rpc.CallerFrom(ctx), content: string(body), relayed: by.Relayed,
		received: string(by.Received("ID", time.Unix(0, 0).UTC())),
	})
	return &gatewayv1.Accepted{MessageId: "ID"}, nil
}

// inGRPC is what the package submit makes of a fault.
func inGRPC(err error) error {
	if f, ok := errors.AsType[*content.Fault](err); ok {
		return &rpc.Error{
			Code: codes.InvalidArgument, Reason: f.Reason, Enhanced: f.Enhanced, Message: "the content is not valid",
			Fields: []rpc.Field{{Field: "content", Description: f.Error()}},
		}
	}
	return err
}

func (s *submitter) all() []taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

// bench is a running server.
type bench struct {
	t    testing.TB
	sub  *submitter
	addr string
	tls  *tls.Config // of clients
	stop context.CancelFunc
	done chan struct{}
}

// start runs a server that knows the token secret of shop, and trusts 127.0.0.1 unless change says otherwise.
func start(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	ca := smtptest.NewCA(t)
	b := &bench{t: t, sub: &submitter{}, done: make(chan struct{})}
	o := Options{
		Node: "mx.example", Submitter: b.sub, TLS: ca.ServerConfig("mx.example"), MaxSize: 1 << 20,
		MaxConnections: 50, MaxPerAddress: 50, Log: slog.New(slog.DiscardHandler), Timeout: limit, Grace: limit,
		Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Caller: func(token string) (rpc.Caller, bool) {
			switch token {
			case "secret":
				return rpc.Caller{Name: "shop", Rights: []rpc.Right{rpc.RightSubmit}}, true
			case "watch":
				return rpc.Caller{Name: "watcher", Rights: []rpc.Right{rpc.RightOperator}}, true
			}
			return rpc.Caller{}, false
		},
	}
	for _, c := range change {
		c(&o)
	}
	b.tls = &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example"}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	go func() {
		defer close(b.done)
		if err := New(o).Serve(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-b.done })
	return b
}

func strangers(o *Options) { o.Trusted = nil }

// client is a client that says exactly what a test tells it.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func (b *bench) dial() *client {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(limit))
	return &client{t: b.t, conn: conn, r: bufio.NewReader(conn)}
}

// greeted is a client behind EHLO.
func (b *bench) greeted() *client {
	b.t.Helper()
	c := b.dial()
	c.expect("220")
	c.say("EHLO client.example\r\n", "250")
	return c
}

// secured is a client behind STARTTLS and EHLO.
func (b *bench) secured() *client {
	b.t.Helper()
	c := b.greeted()
	c.say("STARTTLS\r\n", "220")
	conn := tls.Client(c.conn, b.tls)
	c = &client{t: b.t, conn: conn, r: bufio.NewReader(conn)}
	c.say("EHLO client.example\r\n", "250")
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads one reply, the lines joined with LF.
func (c *client) reply() (string, error) {
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "\n"), err
		}
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// expect reads a reply that begins so.
func (c *client) expect(begin string) string {
	c.t.Helper()
	got, err := c.reply()
	if err != nil || !strings.HasPrefix(got, begin) {
		c.t.Fatalf("reply %q (%v), want %s", got, err, begin)
	}
	return got
}

func (c *client) say(text, begin string) string {
	c.t.Helper()
	c.send(text)
	return c.expect(begin)
}

// closed checks that the server ends the connection.
func (c *client) closed() {
	c.t.Helper()
	if got, err := c.reply(); err == nil {
		c.t.Errorf("the connection goes on: %q", got)
	} else if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		c.t.Error("the connection is still open")
	}
}

func plain(user, token string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + token))
}

const envelopeLines = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"

// begin sends an envelope and DATA.
func (c *client) begin() {
	c.t.Helper()
	c.send(envelopeLines)
	c.expect("250 2.1.0")
	c.expect("250 2.1.5")
	c.expect("354")
}
