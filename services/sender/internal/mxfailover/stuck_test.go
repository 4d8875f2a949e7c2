// SPDX-License-Identifier: Apache-2.0

//go:build load

package mxfailover

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/hostmemory"
	"github.com/postrider/postrider/services/sender/internal/pool"
	"github.com/postrider/postrider/services/sender/internal/sitelimit"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

const (
	stuckHosts = 200
	stuckSize  = 20 << 20
	busy       = 20 // deliveries at once to the site that works
	round      = time.Second
)

// 200 hosts that accept 20 MB each and never read it do not hold up another site, and their mail is not in memory.
func TestStuckHostsHoldNobodyUp(t *testing.T) {
	var open atomic.Int64
	memory := &hostmemory.Memory{}
	w := &Walker{
		Hostname: "client.example.test", Timeouts: smtpclient.DefaultTimeouts(), Memory: memory,
		Open: func(delta int) { open.Add(int64(delta)) },
		Pool: pool.New(sitelimit.New(sitelimit.Options{
			Config: func(string) sitelimit.Config { return sitelimit.Config{Connections: 20} }, Fails: memory.Fails,
		})),
	}
	works := sink(t)

	before, beforeCPU := rates(t, w, works)
	rss := resident(t)
	ctx, cancel := context.WithCancel(t.Context())
	var stuck sync.WaitGroup
	reached := make(chan struct{}, stuckHosts)
	name := bigFile(t)
	for range stuckHosts {
		address := neverReads(t, reached)
		stuck.Go(func() { w.Deliver(ctx, toAddress(address), fileMail(name, address.String())) })
	}
	for range stuckHosts {
		<-reached
	}
	during, duringCPU := rates(t, w, works)
	grown := resident(t) - rss
	cancel()
	stuck.Wait()
	after, afterCPU := rates(t, w, works)
	w.Pool.Close()
	for end := time.Now().Add(time.Second); open.Load() > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if n := open.Load(); n != 0 {
		t.Errorf("%d connections are open a second after the end", n)
	}
	rate := 2 * median(during) / (median(before) + median(after))
	perCPU := 2 * duringCPU / (beforeCPU + afterCPU)
	t.Logf("messages/s: before %.0f, beside %d stuck hosts %.0f, after %.0f: %.0f %% of normal, %.0f %% by the CPU time a message takes; resident memory grew by %.1f MiB",
		before, stuckHosts, during, after, 100*rate, 100*perCPU, float64(grown)/(1<<20))
	// Others may use the machine: what they take is not held against the hosts.
	if max(rate, perCPU) < 0.9 {
		t.Errorf("%.0f %% of the normal rate, %.0f %% by CPU time, want 90 %%", 100*rate, 100*perCPU)
	}
	if grown > 64<<20 {
		t.Errorf("resident memory grew by %d MiB, want at most 64", grown>>20)
	}
}

func median(rates []float64) float64 {
	sorted := slices.Sorted(slices.Values(rates))
	return sorted[len(sorted)/2]
}

// rates are those of a few rounds to the site that works, a second and, over all of them, a second of CPU time.
func rates(t *testing.T, w *Walker, address netip.AddrPort) (all []float64, perCPU float64) {
	t.Helper()
	total, cpu := 0.0, cpuTime(t)
	text := content + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 31)
	for range 5 {
		var n atomic.Int64
		var senders sync.WaitGroup
		began := time.Now()
		for range busy {
			senders.Go(func() {
				for time.Since(began) < round {
					m := mail("a@example.test")
					m.Message.Size, m.Site = int64(len(text)), "works"
					m.OpenBody = func() (io.ReadSeekCloser, error) { return memoryBody{bytes.NewReader([]byte(text))}, nil }
					if o := w.Deliver(t.Context(), toAddress(address), m); o.Recipients[0].Failure != nil {
						t.Error(o.Recipients[0].Failure)
						return
					}
					n.Add(1)
				}
			})
		}
		senders.Wait()
		all = append(all, float64(n.Load())/time.Since(began).Seconds())
		total += float64(n.Load())
	}
	return all, total / (cpuTime(t) - cpu).Seconds()
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

type memoryBody struct{ *bytes.Reader }

func (memoryBody) Close() error { return nil }

// sink is a host that takes everything and remembers nothing.
func sink(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go take(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// take answers each group of lines at once.
func take(c net.Conn) {
	defer c.Close()
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	_, _ = out.WriteString("220 sink\r\n")
	for content := false; ; {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadSlice('\n')
		reply := "250 ok\r\n"
		switch {
		case err != nil:
			return
		case content && string(line) != ".\r\n":
			continue
		case content:
			content = false
		case bytes.HasPrefix(line, []byte("EHLO")):
			reply = "250-sink\r\n250 PIPELINING\r\n"
		case string(line) == "DATA\r\n":
			content, reply = true, "354 go\r\n"
		}
		_, _ = out.WriteString(reply)
	}
}

// neverReads is a host that takes the envelope and then reads nothing more.
func neverReads(t *testing.T, reached chan<- struct{}) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { close(done); l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "220 stuck\r\n")
		buf := make([]byte, 4096)
		for _, reply := range []string{"250 stuck\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"} {
			if _, err := c.Read(buf); err != nil {
				return
			}
			_, _ = io.WriteString(c, reply)
		}
		reached <- struct{}{}
		<-done
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func toAddress(address netip.AddrPort) *resolverv1.ResolveRouteResponse {
	return &resolverv1.ResolveRouteResponse{Domain: "example.test", Hosts: []*resolverv1.Host{{
		Name: "mx.example.test", Addresses: []string{address.Addr().String()}, Port: uint32(address.Port()),
	}}}
}

func bigFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(name, bytes.Repeat([]byte(strings.Repeat("x", 62)+"\r\n"), stuckSize/64), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func fileMail(name, site string) Mail {
	m := mail("a@example.test")
	m.Message.Size, m.Site = stuckSize, site
	m.OpenBody = func() (io.ReadSeekCloser, error) { return os.Open(name) } // looked at line by line, as dots may stand in it
	return m
}

// resident is the resident memory of this process in octets.
func resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
