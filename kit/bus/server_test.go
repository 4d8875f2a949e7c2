// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// testServer is a real server over loopback TCP that can be stopped and started again on its store.
type testServer struct {
	tb   testing.TB
	opts server.Options
	s    *server.Server
}

func startServer(tb testing.TB, change ...func(*server.Options)) *testServer {
	tb.Helper()
	ts := &testServer{tb: tb, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, SyncAlways: true, StoreDir: tb.TempDir(), MaxPayload: MaxPayload,
	}}
	for _, c := range change {
		c(&ts.opts)
	}
	ts.start()
	tb.Cleanup(ts.stop)
	return ts
}

func (ts *testServer) start() {
	ts.tb.Helper()
	opts := ts.opts
	s, err := server.NewServer(&opts)
	if err != nil {
		ts.tb.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		ts.tb.Fatal("nats-server did not start")
	}
	ts.s = s
	ts.opts.Port = s.Addr().(*net.TCPAddr).Port // the same address after a restart
}

func (ts *testServer) stop() {
	if ts.s != nil {
		ts.s.Shutdown()
		ts.s.WaitForShutdown()
		ts.s = nil
	}
}

func (ts *testServer) addr() string {
	return net.JoinHostPort(ts.opts.Host, strconv.Itoa(ts.opts.Port))
}

// client connects as a service does: nothing is kept for later while disconnected.
func (ts *testServer) client(addr string) jetstream.JetStream {
	ts.tb.Helper()
	nc, err := nats.Connect("nats://"+addr, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		ts.tb.Fatal(err)
	}
	ts.tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		ts.tb.Fatal(err)
	}
	return js
}

// startBus starts a server with all streams of one partition.
func startBus(tb testing.TB, change ...func(*Layout)) (*testServer, jetstream.JetStream) {
	tb.Helper()
	ts := startServer(tb)
	js := ts.client(ts.addr())
	l := Layout{Partitions: 1, RetryMinutes: []int{0, 5}}
	for _, c := range change {
		c(&l)
	}
	if err := Ensure(testContext(tb), js, l); err != nil {
		tb.Fatal(err)
	}
	return ts, js
}

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

// proxy stands between a client and the server and can lose what the server says.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	lose  func([]byte) bool // called with what the server sends; true loses it and all after it
	conns map[net.Conn]bool
}

func startProxy(tb testing.TB, target string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

// loseWhen sets what decides whether server output is lost; nil lets everything pass.
func (p *proxy) loseWhen(f func([]byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = f
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) serve(client net.Conn) {
	srv, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[srv] = true, true
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(srv, client, false) })
	wg.Go(func() { p.copy(client, srv, true) })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, srv)
	p.mu.Unlock()
}

func (p *proxy) copy(to, from net.Conn, fromServer bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	lost := false
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if fromServer {
			p.mu.Lock()
			lost = p.lose != nil && (lost || p.lose(buf[:n]))
			p.mu.Unlock()
		}
		if lost {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
