// SPDX-License-Identifier: Apache-2.0

//go:build debian

package smtpclient

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const ceilingSessions = 50

// What this client delivers to Postfix's smtp-sink over kept sessions, beside what smtp-source delivers there in the same
// run. smtp-source waits for each reply and, on loopback, for delayed acknowledgements; so the ceiling is the larger of
// its rate and that of octets made in advance, of which only the line ends that come back are counted. POSTFIX_BIN is the
// folder of both programs (tools/postfix.sh).
func TestCeiling(t *testing.T) {
	bin := os.Getenv("POSTFIX_BIN")
	if bin == "" {
		t.Fatal("POSTFIX_BIN is not set: make bench-ceiling")
	}
	sink := startSink(t, bin)
	for _, c := range []struct {
		size, theirs, ours int     // of a message; messages
		share              float64 // of the ceiling
		allocations        float64
		cpu                time.Duration // of a message; 0: only told
	}{
		{2 << 10, 4_000, 20_000, 0.6, 60, 60 * time.Microsecond},
		{256 << 10, 300, 2_000, 0.8, 60, 0},
	} {
		t.Run(fmt.Sprintf("%d KiB", c.size>>10), func(t *testing.T) {
			var theirs, raw, ours []float64
			var spent usage
			for range 3 { // in turn, so that both meet the same neighbours
				theirs = append(theirs, smtpSource(t, bin, sink, c.size, c.theirs))
				raw = append(raw, rawRate(t, sink, c.size, c.ours))
				rate, used := ownRate(t, sink, c.size, c.ours)
				ours = append(ours, rate)
				spent.cpu += used.cpu / 3
				spent.allocations += used.allocations / 3
			}
			ceiling, own := max(median(theirs), median(raw)), median(ours)
			t.Logf("messages/s: smtp-source %.0f %.0f, ready-made octets %.0f %.0f, smtpclient %.0f %.0f: %.0f %% of the ceiling; %s of CPU and %.1f allocations a message",
				median(theirs), theirs, median(raw), raw, own, ours, 100*own/ceiling, spent.cpu, spent.allocations)
			if own < c.share*ceiling {
				t.Errorf("%.0f %% of the ceiling, want %.0f %%", 100*own/ceiling, 100*c.share)
			}
			if spent.allocations >= c.allocations {
				t.Errorf("%.1f allocations a message, want under %.0f", spent.allocations, c.allocations)
			}
			if c.cpu > 0 && spent.cpu >= c.cpu {
				t.Errorf("%s of CPU a message, want under %s", spent.cpu, c.cpu)
			}
		})
	}
}

func median(rates []float64) float64 {
	sorted := slices.Sorted(slices.Values(rates))
	return sorted[len(sorted)/2]
}

// startSink starts smtp-sink on a free port.
func startSink(t *testing.T, bin string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := addrPort(l.Addr())
	l.Close()
	args := []string{"-m", "400", address.String(), "400"}
	if os.Getuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	run := exec.CommandContext(t.Context(), filepath.Join(bin, "smtp-sink"), args...)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = run.Wait() })
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", address.String())
		if err == nil {
			c.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatal("smtp-sink does not listen: ", err)
		}
	}
}

// smtpSource is how many messages a second smtp-source delivers.
func smtpSource(t *testing.T, bin string, sink netip.AddrPort, size, messages int) float64 {
	t.Helper()
	run := exec.CommandContext(t.Context(), filepath.Join(bin, "smtp-source"), "-d", "-s", strconv.Itoa(ceilingSessions),
		"-l", strconv.Itoa(size), "-m", strconv.Itoa(messages), sink.String())
	began := time.Now()
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("smtp-source: %v\n%s", err, out)
	}
	return float64(messages) / time.Since(began).Seconds()
}

// rawRate is how many messages a second go through when nobody makes or reads anything.
func rawRate(t *testing.T, sink netip.AddrPort, size, messages int) float64 {
	t.Helper()
	envelope := "MAIL FROM:<sender@example.test>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n"
	message := []byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64) + ".\r\n" + envelope)
	began := time.Now()
	var all sync.WaitGroup
	for range ceilingSessions {
		all.Go(func() {
			c, err := net.Dial("tcp", sink.String())
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			in := bufio.NewReader(c)
			say := func(what []byte, replies int) {
				if _, err := c.Write(what); err != nil {
					t.Error(err)
				}
				for range replies {
					if _, err := in.ReadSlice('\n'); err != nil {
						t.Error(err)
					}
				}
			}
			say(nil, 1)
			say([]byte("HELO "+clientName+"\r\n"), 1)
			say([]byte(envelope), 3)
			for range messages / ceilingSessions {
				say(message, 4)
			}
		})
	}
	all.Wait()
	return float64(messages) / time.Since(began).Seconds()
}

// usage is what a message costs this process.
type usage struct {
	cpu         time.Duration
	allocations float64
}

// ownRate is how many messages a second this client delivers over as many sessions, each with the next envelope behind
// the last dot, and what one costs.
func ownRate(t *testing.T, sink netip.AddrPort, size, messages int) (float64, usage) {
	t.Helper()
	o := Options{Address: sink, Hostname: clientName, TLS: TLSPolicy{Mode: TLSOff}, Timeouts: DefaultTimeouts()}
	content := []byte(strings.Repeat(strings.Repeat("x", 62)+"\r\n", size/64))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(t), time.Now()
	var all sync.WaitGroup
	for range ceilingSessions {
		all.Go(func() { deliverAll(t, o, content, messages/ceilingSessions) })
	}
	all.Wait()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return float64(messages) / took.Seconds(), usage{
		cpu:         (cpuTime(t) - cpu) / time.Duration(messages),
		allocations: float64(after.Mallocs-before.Mallocs) / float64(messages),
	}
}

func deliverAll(t *testing.T, o Options, content []byte, messages int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, fail := Dial(ctx, o)
	defer c.Quit()
	if fail != nil {
		t.Error(fail)
		return
	}
	message := func() *Message {
		return &Message{
			From: "sender@example.test", Recipients: []Recipient{{Address: "a@example.test"}},
			Size: int64(len(content)), Body: bytes.NewReader(content), NoDotLines: true,
		}
	}
	m := message()
	for i := range messages {
		var next *Message
		if i < messages-1 {
			next = message()
			m.Next = func(board func(*Message)) { board(next) }
		}
		if r := c.Send(ctx, m); r.Recipients[0].Failure != nil {
			t.Error(r.Recipients[0].Failure)
			return
		}
		m = next
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
