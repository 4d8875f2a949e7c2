// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// fullResult counts what became of more mail than fits.
type fullResult struct {
	OfferedBytes  int64   `json:"offered_bytes"`
	Accepted      int     `json:"accepted"`
	AcceptedBytes int64   `json:"accepted_bytes"`
	Full          int     `json:"resource_exhausted"` // with RetryInfo
	Away          int     `json:"unavailable"`        // with RetryInfo
	Untyped       int     `json:"untyped"`            // any other refusal
	Lost          int     `json:"lost"`
	Duplicates    int     `json:"duplicates"`
	DrainSeconds  float64 `json:"drain_seconds"` // from the return of all to the last delivery
}

const (
	storeBytes = 20 << 20
	// fits is what of it mail may take: 60 %.
	fits = storeBytes / 10 * 6
	// drainWithin bounds how long it takes until all is out.
	drainWithin = 6 * time.Minute
)

// TestG13_FullStore is make chaos-full: a store of 20 MiB, all mail hosts dead, dsn stopped, ten times more submissions
// than fit; store and senders crash. Then all come back, and all that was accepted goes out. Without FULL_DEAD_SECONDS it is a short one.
func TestG13_FullStore(t *testing.T) {
	dead := time.Duration(number(t, "FULL_DEAD_SECONDS", 5)) * time.Second
	dir := folderOf(t, "full")
	w := newWorld(t, dir, options{
		seed: number(t, "CHAOS_SEED", 1), mortal: true, hasty: true, natsStore: "20MB",
		settings: suite.Settings{"nats.max_store": "20MiB", "nats.outcome_bytes": "2MiB", "sender.retry.pauses": []string{"1s"}},
	})
	s := &layout{world: w}
	s.start(shortLease)
	s.crash("dsn")
	w.way.Cut()

	f := &flood{t: t, gateway: dialTo(t, w.gateway), accepted: w.tally.accepted}
	begin := time.Now()
	f.run(w.random(0))
	time.Sleep(time.Until(begin.Add(dead)))
	for _, name := range append([]string{"nats-server"}, senders...) {
		s.kill(name, 0) // whoever starts must find room for its lease
	}

	w.way.Mend()
	s.launch("dsn")
	begin = time.Now()
	for len(w.tally.missing()) > 0 && time.Since(begin) < drainWithin {
		time.Sleep(200 * time.Millisecond)
		w.must(w.tally.update(w.acceptedLog(), w.sinkLog()))
	}
	f.r.DrainSeconds = time.Since(begin).Seconds()
	judged, doubts := w.tally.judge(nil)
	f.r.Lost, f.r.Duplicates = judged.Lost, judged.UnmarkedDuplicate
	w.must(save(filepath.Join(dir, resultFile), f.r))
	t.Logf("%+v", f.r)
	missing := w.tally.missing()
	if f.r.Lost > 0 || f.r.Untyped > 0 || f.r.Duplicates > 0 {
		t.Errorf("%+v; missing %v; %v", f.r, missing[:min(len(missing), 10)], doubts)
	}
	if f.r.Full == 0 || f.r.Accepted == 0 || f.r.OfferedBytes < 10*fits {
		t.Errorf("this was no flood: %+v", f.r)
	}
	// There is room again, without a hand on it.
	k := &flood{t: t, gateway: f.gateway, accepted: map[string][]string{}}
	for deadline := time.Now().Add(3 * time.Minute); k.r.Accepted == 0; time.Sleep(100 * time.Millisecond) {
		k.submit(-1, 2<<10)
		if time.Now().After(deadline) {
			t.Fatalf("nothing is accepted when all is out: %+v, %v", k.r, k.last)
		}
	}
}

// flood submits more than there is room for.
type flood struct {
	t        *testing.T
	gateway  gatewayv1.MailServiceClient
	mu       sync.Mutex
	r        fullResult
	accepted map[string][]string
	last     error // the last refusal for want of room
}

// sizes are those of contents: inline and in the body store.
func sizes() []int { return []int{2 << 10, 20 << 10, 60 << 10, 150 << 10, 700 << 10} }

func (f *flood) run(random *rand.Rand) {
	numbers := make(chan int)
	go func() {
		defer close(numbers)
		for n, total := 0, 0; total < 10*fits; n++ {
			size := sizes()[random.IntN(len(sizes()))]
			total += size
			numbers <- size
		}
	}()
	var running sync.WaitGroup
	for caller := range 16 {
		running.Go(func() {
			n := caller * 1_000_000
			for size := range numbers {
				f.submit(n, size)
				n++
			}
		})
	}
	running.Wait()
}

// submit offers one message. One of ten goes to a domain that takes no mail: its sender gets a notification.
func (f *flood) submit(n, size int) {
	m := mailOf{kind: kindPlain, recipients: []string{fmt.Sprintf("a@d%d.example", max(n, 0)%domains)}}
	if n%10 == 9 {
		m.kind, m.recipients = kindRefused, []string{"a@" + nowhere}
	}
	m.id = fmt.Sprintf("%s.full.%d@%s", m.kind, n, senderDomain)
	request := m.request()
	line := strings.Repeat("x", 70) + "\r\n"
	request.Content = append(request.Content, bytes.Repeat([]byte(line), size/len(line))...)
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	_, err := f.gateway.Submit(ctx, request)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.r.OfferedBytes += int64(len(request.Content))
	refusal := rpc.FromError(err)
	switch {
	case err == nil:
		f.r.Accepted++
		f.r.AcceptedBytes += int64(len(request.Content))
		f.accepted[m.id] = m.recipients
	case refusal.Code == codes.ResourceExhausted && refusal.Reason == "QUEUE_FULL" && refusal.RetryAfter > 0:
		f.r.Full++
		f.last = err
	case refusal.Code == codes.Unavailable && refusal.Reason != "" && refusal.RetryAfter > 0:
		f.r.Away++
	default:
		f.r.Untyped++
		f.t.Logf("refused with %v", err)
	}
}
