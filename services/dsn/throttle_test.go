// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

// narrow are limits that a test reaches.
func narrow(c *Config, _ *runner.Env) {
	c.Throttle = Throttle{PerSender: 4, PerDomain: 1000, PerRecipient: 2, Window: config.Duration(2 * time.Second)}
}

// toldOnce fails unless each outcome was told exactly once, in a notification of its own or in one line of one list, and
// returns how many stood in lists.
func toldOnce(t *testing.T, w *world, outcomes []*eventv1.Outcome) (joined int) {
	t.Helper()
	own := map[string]int{}
	lines := map[string]int{}
	for _, k := range w.gateway.keys() {
		if !strings.HasPrefix(k, "dsn/list/") {
			own[k]++
			continue
		}
		for _, id := range listed(t, w.gateway.request(k)) {
			lines[id]++
		}
	}
	for _, o := range outcomes {
		if own[key(o)]+lines[o.GetMessageId()] != 1 {
			t.Errorf("outcome %s: %d notifications and %d lines", o.GetId(), own[key(o)], lines[o.GetMessageId()])
		}
		joined += lines[o.GetMessageId()]
	}
	return joined
}

// listed returns the references in a list.
func listed(t *testing.T, request *gatewayv1.SubmitRequest) []string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(request.GetContent()))
	if err != nil {
		t.Fatal(err)
	}
	if request.GetEnvelope().GetSender() != "" || m.Header.Get("Auto-Submitted") != "auto-replied" || request.GetEnvelope().GetReportsOn() == "" {
		t.Errorf("list from %q, header %v", request.GetEnvelope().GetSender(), m.Header)
	}
	body := m.Body
	if m.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, found := range regexp.MustCompile(`(?m)^ {8}([0-9A-Z]{26})  \d\.\d+\.\d+  \S+@\S+\r$`).FindAllSubmatch(text, -1) {
		ids = append(ids, string(found[1]))
	}
	return ids
}

// awaitTold waits until everything that was joined is told.
func (w *world) awaitTold() {
	w.t.Helper()
	limit := time.After(patience)
	for {
		due, _, err := bus.JoinedWindows(w.t.Context(), w.js)
		if err == nil && len(due) == 0 {
			return
		}
		select {
		case <-limit:
			w.t.Fatalf("%d windows are not told: %v; log:\n%s", len(due), err, w.log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestD17_AStormBecomesAList: some notifications one by one, the rest in one message, and nothing is lost.
func TestD17_AStormBecomesAList(t *testing.T) {
	w := newWorld(t, 2)
	var outcomes []*eventv1.Outcome
	last := map[int]uint64{}
	for i := range 10 {
		segment := []*eventv1.Outcome{w.failed(), w.failed(), w.failed()}
		last[i%2] = w.append(bus.Notice, i%2, segment...)
		outcomes = append(outcomes, segment...)
	}
	w.start(embedded, narrow)
	for partition, sequence := range last {
		w.awaitCursor(partition, sequence)
	}
	w.awaitTold()
	joined := toldOnce(t, w, outcomes)
	if joined < 20 {
		t.Errorf("%d of 30 joined", joined)
	}
	if n := strings.Count(w.log.String(), "too many notifications"); n < 1 || n > 4 {
		t.Errorf("the storm is told %d times in the log", n)
	}
	calm := w.failed()
	w.awaitCursor(0, w.append(bus.Notice, 0, calm))
	if w.gateway.request(key(calm)) == nil {
		t.Error("after the storm a notification is not sent by itself")
	}
}

// TestD17_KilledAnywhere: a real process is killed with SIGKILL at random calls, notifications and lists, while a storm
// goes on; each outcome is told exactly once.
func TestD17_KilledAnywhere(t *testing.T) {
	w := newWorld(t, 2, func(o *bustest.Options) { o.Listen = true })
	w.settings = `throttle: {per_sender: 4, per_domain: 1000, per_recipient: 2, window: 1s}`
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var outcomes []*eventv1.Outcome
	last := map[int]uint64{}
	put := func() {
		for i := range 2 {
			var segment []*eventv1.Outcome
			for range 4 {
				segment = append(segment, w.failed())
			}
			last[i] = w.append(bus.Notice, i, segment...)
			outcomes = append(outcomes, segment...)
		}
	}
	lists := 0
	for round := range 8 {
		put()
		var calls atomic.Int64
		deadly := 1 + random.Int64N(4)
		armed, hit := make(chan struct{}), make(chan struct{})
		var c *child
		die := func(_ int, request *gatewayv1.SubmitRequest) error {
			list := strings.HasPrefix(request.GetEnvelope().GetIdempotencyKey(), "dsn/list/")
			// Odd rounds die at a list, the others at any call.
			if round%2 == 1 && !list {
				return nil
			}
			if n := calls.Add(1); n == deadly || round%2 == 1 && n == 1 {
				<-armed
				if list {
					lists++
				}
				close(hit)
				c.kill()
			}
			return nil
		}
		if round%4 < 2 {
			w.gateway.hook(die, nil)
		} else {
			w.gateway.hook(nil, die)
		}
		c = w.spawn()
		close(armed)
		select {
		case <-hit:
		case <-time.After(patience):
			c.kill()
			t.Fatalf("round %d: the service does not work:\n%s", round, c.output.String())
		}
		<-c.done
	}
	w.gateway.hook(nil, nil)
	put()
	c := w.spawn()
	for partition, sequence := range last {
		w.awaitCursor(partition, sequence)
	}
	w.awaitTold()
	c.kill()
	joined := toldOnce(t, w, outcomes)
	t.Logf("%d outcomes, %d of them in lists, %d calls; died at %d lists", len(outcomes), joined, w.gateway.callCount(), lists)
	if joined == 0 || lists == 0 {
		t.Error("nothing was joined, or no list was hit")
	}
}

// TestD17_LeavesOrdinaryMailAlone: thirty different bounces to one bulk sender in a minute.
func TestD17_LeavesOrdinaryMailAlone(t *testing.T) {
	w := newWorld(t, 1)
	w.start(embedded, func(c *Config, _ *runner.Env) { c.Throttle = Default().Throttle })
	var outcomes []*eventv1.Outcome
	for i := range 30 {
		o := w.failed()
		o.Results[0].Recipient.Address = fmt.Sprintf("r%d@example.net", i)
		outcomes = append(outcomes, o)
	}
	w.awaitCursor(0, w.append(bus.Notice, 0, outcomes...))
	exactlyOnce(t, w, outcomes)
}

// TestD03_PostmasterGetsAList of failed mail without a return address; its own failures make no further list.
func TestD03_PostmasterGetsAList(t *testing.T) {
	w := newWorld(t, 1)
	w.start(embedded, narrow, func(c *Config, _ *runner.Env) { c.Postmaster = "postmaster@example.org" })
	o, own := w.failed(), w.failed()
	o.EnvelopeSender, own.EnvelopeSender = "", ""
	own.ReportsOn, own.Results[0].Recipient.Address = o.GetMessageId(), "postmaster@example.org"
	w.awaitCursor(0, w.append(bus.Notice, 0, o, own))
	keys := w.gateway.await(t, 1)
	w.awaitTold()
	request := w.gateway.request(keys[0])
	if ids := listed(t, request); len(w.gateway.keys()) != 1 || len(ids) != 1 || ids[0] != o.GetMessageId() ||
		request.GetEnvelope().GetRecipients()[0].GetAddress() != "postmaster@example.org" {
		t.Errorf("calls %v, told %v", w.gateway.keys(), ids)
	}
}
