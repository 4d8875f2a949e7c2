// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/testkit/internal/loopback"
)

// Cluster is some servers that replicate their streams, over real routes on loopback. Each has an address of its own
// in 127.0.0.0/8, which only Linux gives without asking.
type Cluster struct {
	tb    testing.TB
	log   *logger
	nodes []*node

	mu   sync.Mutex // serialises Stop and StartAgain, and guards srv of the nodes
	conn *nats.Conn
	js   jetstream.JetStream
}

// node is one server and what stays the same over its restarts.
type node struct {
	name   string
	client netip.AddrPort
	route  netip.AddrPort
	store  string
	srv    *server.Server // nil: stopped
}

// StartCluster runs n servers with SyncAlways and returns when all are one cluster with JetStream. The end of the test
// stops them. A server is stopped in order; what kill -9 does to a cluster is a matter for real processes.
func StartCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, log: new(logger)}
	dir := tb.TempDir()
	net := [2]byte{byte(1 + rand.IntN(254)), byte(rand.IntN(256))}
	for i := range n {
		addr := netip.AddrFrom4([4]byte{127, net[0], net[1], byte(i + 1)})
		client, route := c.freePorts(addr)
		c.nodes = append(c.nodes, &node{
			name: fmt.Sprintf("node-%d", i), client: client, route: route, store: filepath.Join(dir, fmt.Sprint(i)),
		})
	}
	tb.Cleanup(func() {
		for i := range c.nodes {
			c.Stop(i)
		}
		c.log.report(tb)
	})
	var all sync.WaitGroup // each waits for the others
	errs := make([]error, n)
	for i, nd := range c.nodes {
		all.Go(func() { errs[i] = c.start(nd) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			tb.Fatal(err)
		}
	}
	c.AwaitReady(patience)
	return c
}

// freePorts finds two ports on an address that nobody else uses.
func (c *Cluster) freePorts(addr netip.Addr) (client, route netip.AddrPort) {
	c.tb.Helper()
	var got [2]netip.AddrPort
	for i := range got {
		l, err := loopback.Listen(0, addr.String())
		if err != nil {
			c.tb.Fatalf("bustest: %v", err)
		}
		defer l[0].Close()
		got[i] = loopback.AddrPort(l[0].Addr())
	}
	return got[0], got[1]
}

func (c *Cluster) start(nd *node) error {
	o := &server.Options{
		ServerName: nd.name, Host: nd.client.Addr().String(), Port: int(nd.client.Port()), NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: nd.store, SyncAlways: true, MaxPayload: maxPayload, DisableJetStreamBanner: true,
		Cluster: server.ClusterOpts{Name: "bustest", Host: nd.route.Addr().String(), Port: int(nd.route.Port())},
	}
	for _, other := range c.nodes {
		if other != nd {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: other.route.String()})
		}
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("bustest: %s: %w", nd.name, err)
	}
	srv.SetLoggerV2(c.log, false, false, false)
	srv.Start()
	if err := c.log.awaitReady(srv); err != nil {
		return fmt.Errorf("bustest: %s: %w", nd.name, err)
	}
	nd.srv = srv
	return nil
}

// AwaitReady returns when the servers that run have a leader and are up to date with it; it fails the test when that
// takes longer than limit. The servers tell of it only when asked, so it asks every few milliseconds.
func (c *Cluster) AwaitReady(limit time.Duration) {
	c.tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for {
		why := c.unready()
		if why == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			c.tb.Fatalf("bustest: cluster not ready within %s: %s", limit, why)
		}
	}
}

// unready says why the cluster is not ready, or nothing.
func (c *Cluster) unready() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	running, leaders := 0, 0
	for _, nd := range c.nodes {
		if nd.srv == nil {
			continue
		}
		running++
		if !nd.srv.JetStreamIsCurrent() {
			return nd.name + " is not up to date"
		}
		if nd.srv.JetStreamIsLeader() {
			leaders++
			if n := len(nd.srv.JetStreamClusterPeers()); n != len(c.nodes) {
				return fmt.Sprintf("the leader knows %d servers", n)
			}
		}
		if n := nd.srv.NumRoutes(); n == 0 && len(c.nodes) > 1 {
			return nd.name + " has no route"
		}
	}
	if running > 0 && leaders != 1 {
		return fmt.Sprintf("%d leaders", leaders)
	}
	return ""
}

// Stop shuts one server down in order; one that is stopped stays so.
func (c *Cluster) Stop(i int) {
	c.mu.Lock()
	nd := c.nodes[i]
	srv := nd.srv
	nd.srv = nil
	c.mu.Unlock()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// StartAgain starts a stopped server on its store and its old addresses. It does not wait for the cluster: see
// AwaitReady.
func (c *Cluster) StartAgain(i int) {
	c.tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[i].srv != nil {
		c.tb.Fatalf("bustest: %s runs already", c.nodes[i].name)
	}
	if err := c.start(c.nodes[i]); err != nil {
		c.tb.Fatal(err)
	}
}

// Size is the number of servers.
func (c *Cluster) Size() int { return len(c.nodes) }

// Node is one server; nil while stopped.
func (c *Cluster) Node(i int) *server.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i].srv
}

// URL holds the addresses of all servers, separated by commas, as nats.Connect takes them.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.nodes))
	for i, nd := range c.nodes {
		urls[i] = "nats://" + nd.client.String()
	}
	return strings.Join(urls, ",")
}

// Conn is a connection shared by the test, to any server, with the options of Server.Conn. The end of the test closes
// it.
func (c *Cluster) Conn() *nats.Conn {
	c.tb.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		nc, err := nats.Connect(c.URL(), connOptions(c.log)...)
		if err != nil {
			c.tb.Fatalf("bustest: connect: %v", err)
		}
		c.tb.Cleanup(nc.Close)
		if c.js, err = jetstream.New(nc); err != nil {
			c.tb.Fatalf("bustest: %v", err)
		}
		c.conn = nc
	}
	return c.conn
}

// JetStream is the API over Conn.
func (c *Cluster) JetStream() jetstream.JetStream {
	c.tb.Helper()
	c.Conn()
	return c.js
}

// Leader is the number of the server that leads a stream, -1 while it has no leader.
func (c *Cluster) Leader(stream string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, nd := range c.nodes {
		if nd.srv != nil && nd.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}
