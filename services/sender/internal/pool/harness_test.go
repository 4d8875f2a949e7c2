// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const content = "From: <a@example.test>\r\nSubject: x\r\n\r\nhello\r\n"

// limits are windows that stand, and what was told.
type limits struct {
	window    int
	host      int
	succeeded []int // connections in use each time
	failed    int
}

func (l *limits) Window(string) int         { return l.window }
func (l *limits) Host(netip.AddrPort) int   { return l.host }
func (l *limits) Succeeded(_ string, n int) { l.succeeded = append(l.succeeded, n) }
func (l *limits) Failed(string, time.Time)  { l.failed++ }

// bench is a pool in a synctest bubble with hosts behind net.Pipe.
type bench struct {
	t       *testing.T
	limits  *limits
	pool    *Pool
	open    atomic.Int64
	talks   []smtptest.Conversation // of the connections to come
	dialled int
}

// pooled runs body in a bubble. There must be as many connections as conversations, and none at the end (O-04).
func pooled(t *testing.T, window int, body func(b *bench), talks ...smtptest.Conversation) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, limits: &limits{window: window}, talks: talks}
		b.pool = New(b.limits)
		body(b)
		b.pool.Close()
		synctest.Wait()
		if n := b.open.Load(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
		if b.dialled != len(talks) {
			t.Errorf("%d connections, want %d", b.dialled, len(talks))
		}
		if len(b.pool.sites) != 0 {
			t.Errorf("%d sites are remembered", len(b.pool.sites))
		}
	})
}

var first, second = netip.MustParseAddrPort("192.0.2.1:25"), netip.MustParseAddrPort("192.0.2.2:25")

func (b *bench) options(address netip.AddrPort) smtpclient.Options {
	return smtpclient.Options{
		Address: address, Hostname: "client.example.test", Timeouts: smtpclient.DefaultTimeouts(),
		TLS:  smtpclient.TLSPolicy{Mode: smtpclient.TLSOpportunistic},
		Open: func(delta int) { b.open.Add(int64(delta)) },
		Dial: func(context.Context, string, string) (net.Conn, error) {
			if b.dialled == len(b.talks) {
				b.t.Errorf("connection %d was not expected", b.dialled+1)
				return nil, net.ErrClosed
			}
			client, server := net.Pipe()
			b.t.Cleanup(smtptest.Script(b.t, server, b.talks[b.dialled]))
			b.dialled++
			return client, nil
		},
	}
}

// acquire gets a lease for the first address, and opens a session if that is what it is for.
func (b *bench) acquire(m *smtpclient.Message) *Lease { return b.acquireAt(first, m) }

func (b *bench) acquireAt(address netip.AddrPort, m *smtpclient.Message) *Lease {
	b.t.Helper()
	o := b.options(address)
	l, err := b.pool.Acquire(b.t.Context(), Request{
		Site: "site", Key: KeyOf(&o), Message: func() *smtpclient.Message { return m },
	})
	if err != nil {
		b.t.Errorf("Acquire: %v", err)
		return nil
	}
	b.dial(l, o)
	return l
}

func (b *bench) dial(l *Lease, o smtpclient.Options) {
	b.t.Helper()
	if l.Conn != nil {
		return
	}
	c, fail := smtpclient.Dial(b.t.Context(), o)
	if fail != nil {
		b.t.Errorf("Dial: %v", fail)
	}
	l.Conn = c
}

// send sends a message over a lease and gives it back.
func (b *bench) send(l *Lease, m *smtpclient.Message) *smtpclient.Result {
	b.t.Helper()
	m.Next = l.Next
	r := l.Conn.Send(b.t.Context(), m)
	use := Used
	switch {
	case l.Conn.Farewell() != nil:
		use = Failed
	case r.Recipients[0].Failure == nil:
		use = Delivered
	}
	l.Release(use)
	return r
}

// deliver is a whole message; it must be taken.
func (b *bench) deliver(to string) (kept bool) {
	b.t.Helper()
	m := message(to)
	l := b.acquire(m)
	kept = l.Kept
	if r := b.send(l, m); r.Recipients[0].Failure != nil {
		b.t.Errorf("%s: %v", to, r.Recipients[0].Failure)
	}
	return kept
}

func message(to string) *smtpclient.Message {
	return &smtpclient.Message{
		From: "sender@example.test", Recipients: []smtpclient.Recipient{{Address: to}},
		Size: int64(len(content)), Body: bytes.NewReader([]byte(content)),
	}
}
