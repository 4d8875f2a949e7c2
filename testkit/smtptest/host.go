// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/testkit/internal/loopback"
)

// Host is a receiving SMTP host that keeps what it is sent.
type Host struct {
	tb       testing.TB // nil outside of tests
	opts     HostOptions
	listener net.Listener
	running  sync.WaitGroup

	mu         sync.Mutex
	changed    chan struct{} // closed and renewed with every change
	closing    bool
	conns      []*ConnInfo // by ID-1
	open       map[int]net.Conn
	counts     Counts
	messages   []Message
	refused    []Message
	violations []string
}

// NewHost starts a host for a test. Its end closes the host, and fails the test when a client departed from the
// protocol (see [Host.Violations]).
func NewHost(tb testing.TB, o HostOptions) *Host {
	tb.Helper()
	h, err := startHost(tb, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		h.Close()
		for _, v := range h.Violations() {
			tb.Errorf("smtptest: host %s: %s", h.opts.Name, v)
		}
	})
	return h
}

// StartHost starts a host outside of tests; the caller calls Close.
func StartHost(o HostOptions) (*Host, error) { return startHost(nil, o) }

func startHost(tb testing.TB, o HostOptions) (*Host, error) {
	o = o.withDefaults()
	l := o.Listener
	if l == nil {
		addr := o.ListenAddr
		if addr == "" {
			addr = "127.0.0.1:0"
		}
		var err error
		if l, err = net.Listen("tcp", addr); err != nil {
			return nil, fmt.Errorf("smtptest: host %s: %w", o.Name, err)
		}
	}
	h := &Host{tb: tb, opts: o, listener: l, changed: make(chan struct{}), open: map[int]net.Conn{}}
	h.running.Go(h.accept)
	return h, nil
}

func (h *Host) accept() {
	for {
		c, err := h.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				h.violation(0, "accept: %v", err)
			}
			return
		}
		h.running.Go(func() { h.Attach(c) })
	}
}

// Attach serves one connection that did not come through the listener, such as one end of a net.Pipe, and returns
// when it is closed.
func (h *Host) Attach(c net.Conn) {
	info, ok := h.enter(c)
	if !ok {
		_ = c.Close()
		return
	}
	s := newSession(h, info, c)
	kind := s.run()
	_ = c.Close()
	h.leave(info, kind)
}

func (h *Host) enter(c net.Conn) (*ConnInfo, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return nil, false
	}
	info := &ConnInfo{
		ID: len(h.conns) + 1, Remote: loopback.AddrPort(c.RemoteAddr()), AcceptedAt: time.Now(), Open: true,
	}
	h.conns = append(h.conns, info)
	h.open[info.ID] = c
	h.counts.Accepted++
	h.counts.Open++
	h.touch()
	return info, true
}

func (h *Host) leave(info *ConnInfo, kind CloseKind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, info.ID)
	info.Open, info.ClosedAt, info.Closed = false, time.Now(), kind
	h.counts.Open--
	if kind == ClosedFIN || kind == ClosedReset {
		h.counts.ClosedByPeer++
	}
	h.touch()
}

func (h *Host) touch() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// update changes what the host keeps and wakes those who wait.
func (h *Host) update(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	h.touch()
}

func (h *Host) violation(conn int, format string, args ...any) {
	h.update(func() {
		h.violations = append(h.violations, fmt.Sprintf("connection %d: ", conn)+fmt.Sprintf(format, args...))
	})
}

// Name is the host's name.
func (h *Host) Name() string { return h.opts.Name }

// Addr is the address and port it listens on.
func (h *Host) Addr() netip.AddrPort { return loopback.AddrPort(h.listener.Addr()) }

// Messages are the accepted messages in the order of their final dots.
func (h *Host) Messages() []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages)
}

// Refused are the messages that came to their final dot and were not answered 2xx.
func (h *Host) Refused() []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.refused)
}

// Counts gives the numbers of connections and messages now.
func (h *Host) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

// Conns gives what is known of every connection, by ID.
func (h *Host) Conns() []ConnInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]ConnInfo, len(h.conns))
	for i, c := range h.conns {
		all[i] = *c
		all[i].Commands = slices.Clone(c.Commands)
		all[i].Groups = make([][]string, len(c.Groups))
		for j, g := range c.Groups {
			all[i].Groups[j] = slices.Clone(g)
		}
	}
	return all
}

// Violations lists where clients departed from the protocol: a command before the greeting (RFC 5321, section 3.1),
// pipelining that was not offered (RFC 2920), parameters of extensions that were not offered (RFC 5321, section
// 2.2.1), a bare CR or LF (section 2.3.8), 8-bit data without BODY=8BITMIME where 8BITMIME is offered (RFC 6152),
// a SIZE that is not that of the data (RFC 1870), unknown commands, input between STARTTLS and the handshake
// (RFC 3207, section 4.2).
func (h *Host) Violations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.violations)
}

// ForgiveViolations forgets the violations so far and returns them, for tests that provoke them.
func (h *Host) ForgiveViolations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.violations
	h.violations = nil
	return v
}

// WaitFor returns once ok holds for the host's numbers; they are looked at after every change.
func (h *Host) WaitFor(ctx context.Context, ok func(Counts) bool) error {
	for {
		h.mu.Lock()
		counts, changed := h.counts, h.changed
		h.mu.Unlock()
		if ok(counts) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("smtptest: host %s: %w with %+v", h.opts.Name, ctx.Err(), counts)
		}
	}
}

// Wait returns the accepted messages once there are n. When that takes longer than limit it fails the test; outside
// of tests it returns those that are there.
func (h *Host) Wait(n int, limit time.Duration) []Message {
	h.within(limit, func(c Counts) bool { return c.Messages >= n })
	return h.Messages()
}

// WaitClosed returns once n connections have been accepted and none is open, and gives what is known of them. When
// that takes longer than limit it fails the test.
func (h *Host) WaitClosed(n int, limit time.Duration) []ConnInfo {
	h.within(limit, func(c Counts) bool { return c.Accepted >= n && c.Open == 0 })
	return h.Conns()
}

func (h *Host) within(limit time.Duration, ok func(Counts) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := h.WaitFor(ctx, ok); err != nil && h.tb != nil {
		h.tb.Helper()
		h.tb.Fatal(err)
	}
}

// Close stops listening, closes what is open and waits until no connection is served any more. It may be called more
// than once.
func (h *Host) Close() {
	h.mu.Lock()
	h.closing = true
	_ = h.listener.Close()
	for _, c := range h.open {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.running.Wait()
}
