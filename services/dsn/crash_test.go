// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// exactlyOnce fails unless each outcome has become one notification.
func exactlyOnce(t *testing.T, w *world, outcomes []*eventv1.Outcome) {
	t.Helper()
	keys := w.gateway.keys()
	seen := map[string]int{}
	for _, k := range keys {
		seen[k]++
	}
	for _, o := range outcomes {
		if seen[key(o)] != 1 {
			t.Errorf("outcome %s became %d notifications", o.GetId(), seen[key(o)])
		}
	}
	if len(keys) != len(outcomes) {
		t.Errorf("%d notifications of %d outcomes", len(keys), len(outcomes))
	}
}

// embedded makes the service take its own lease over at once, as in the all-in-one.
func embedded(_ *Config, env *runner.Env) { env.NATSConfig.URL = "" }

// TestQ09_DiesBetweenSubmitAndCursor: the gateway has the notification, the service never hears of it.
func TestQ09_DiesBetweenSubmitAndCursor(t *testing.T) {
	w := newWorld(t, 1)
	o := w.failed()
	var p *process
	started := make(chan struct{})
	w.gateway.hook(nil, func(n int, _ *gatewayv1.SubmitRequest) error {
		if n == 1 {
			<-started
			p.kill()
			<-p.done // the call has no end while the service lives
		}
		return nil
	})
	p = w.start(embedded)
	close(started)
	sequence := w.append(bus.Notice, 0, o)
	<-p.done
	if at, err := w.cursors.Read(t.Context(), 0); err != nil || at.Sequence >= sequence {
		t.Fatalf("cursor %+v, %v: it passed what nobody answered for", at, err)
	}
	w.start(embedded)
	w.awaitCursor(0, sequence)
	exactlyOnce(t, w, []*eventv1.Outcome{o})
	if n := w.gateway.callCount(); n != 2 {
		t.Errorf("%d calls, want the lost one and its repetition", n)
	}
}

// TestQ09_StoreGoesAwayBetweenSubmitAndCursor: the answer came, the cursor cannot be written, and then the process dies.
func TestQ09_StoreGoesAwayBetweenSubmitAndCursor(t *testing.T) {
	w := newWorld(t, 1)
	o := w.failed()
	gone := make(chan struct{})
	w.gateway.hook(nil, func(n int, _ *gatewayv1.SubmitRequest) error {
		if n == 1 {
			w.nats.HoldReplies()
			close(gone)
		}
		return nil
	})
	p := w.start(embedded)
	sequence := w.append(bus.Notice, 0, o)
	<-gone
	w.gateway.await(t, 1)
	w.nats.CutConnections()
	p.stop()
	w.nats.ReleaseReplies()
	w.start(embedded)
	w.awaitCursor(0, sequence)
	exactlyOnce(t, w, []*eventv1.Outcome{o})
}

// TestQ09_RandomDeaths kills the service at random calls, before or after the gateway took them, until all is done.
func TestQ09_RandomDeaths(t *testing.T) {
	w := newWorld(t, 2)
	const each, segments = 5, 12
	var outcomes []*eventv1.Outcome
	last := map[int]uint64{}
	for i := range segments {
		var segment []*eventv1.Outcome
		for range each {
			segment = append(segment, w.failed())
		}
		last[i%2] = w.append(bus.Notice, i%2, segment...)
		outcomes = append(outcomes, segment...)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	few := func(c *Config, env *runner.Env) { embedded(c, env); c.Concurrency = 4 }
	for range 12 {
		var calls atomic.Int64
		deadly, before := 1+random.Int64N(20), random.IntN(2) == 0
		armed, finished := make(chan struct{}), w.gateway.reached(len(outcomes))
		var p *process
		die := func(int, *gatewayv1.SubmitRequest) error {
			if calls.Add(1) == deadly {
				<-armed
				p.kill()
				<-p.done
			}
			return nil
		}
		if before {
			w.gateway.hook(die, nil)
		} else {
			w.gateway.hook(nil, die)
		}
		p = w.start(few)
		close(armed)
		select {
		case <-p.done:
		case <-finished:
		}
		p.stop()
		if len(w.gateway.keys()) == len(outcomes) {
			break
		}
	}
	w.gateway.hook(nil, nil)
	w.start(few)
	for partition, sequence := range last {
		w.awaitCursor(partition, sequence)
	}
	exactlyOnce(t, w, outcomes)
}

// TestQ09_StoreCrashesAndComesBack under a running service.
func TestQ09_StoreCrashesAndComesBack(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	var outcomes []*eventv1.Outcome
	for range 3 {
		o := w.failed()
		outcomes = append(outcomes, o)
		w.append(bus.Notice, 0, o)
		w.gateway.await(t, len(outcomes))
		w.nats.Crash()
	}
	o := w.failed()
	outcomes = append(outcomes, o)
	w.awaitCursor(0, w.append(bus.Notice, 0, o))
	exactlyOnce(t, w, outcomes)
}

// TestQ09_NothingIsLostWhileTheGatewayDoesNotTakeIt: unavailable, full, over its time, and then not there at all.
func TestQ09_NothingIsLostWhileTheGatewayDoesNotTakeIt(t *testing.T) {
	w := newWorld(t, 1)
	var outcomes []*eventv1.Outcome
	for range 20 {
		outcomes = append(outcomes, w.failed())
	}
	refusals := []error{
		&rpc.Error{Code: codes.Unavailable}, &rpc.Error{Code: codes.ResourceExhausted}, errors.New("a bug"),
		&rpc.Error{Code: codes.DeadlineExceeded}, &rpc.Error{Code: codes.Unauthenticated},
	}
	w.gateway.hook(func(n int, _ *gatewayv1.SubmitRequest) error {
		if n <= 40 {
			return refusals[n%len(refusals)]
		}
		return nil
	}, nil)
	p := w.start(embedded)
	sequence := w.append(bus.Notice, 0, outcomes[:10]...)
	w.gateway.await(t, 5)
	w.stopMail() // the rest meets a closed port
	p.stop()
	p = w.start(embedded)
	sequence = max(sequence, w.append(bus.Notice, 0, outcomes[10:]...))
	w.gateway.serve(t, w.address, w.tracer, w.tokens)
	w.awaitCursor(0, sequence)
	p.stop()
	exactlyOnce(t, w, outcomes)
}

// TestG12_AnotherWordingIsTheSameNotification: a new version, or a changed name, after a crash must not send it again.
func TestG12_AnotherWordingIsTheSameNotification(t *testing.T) {
	w := newWorld(t, 1)
	o := w.failed()
	var p *process
	started := make(chan struct{})
	w.gateway.hook(nil, func(n int, _ *gatewayv1.SubmitRequest) error {
		if n == 1 {
			<-started
			p.kill()
			<-p.done
		}
		return nil
	})
	p = w.start(embedded)
	close(started)
	sequence := w.append(bus.Notice, 0, o)
	<-p.done
	w.start(embedded, func(c *Config, env *runner.Env) { c.From, env.Node.Name = "postmaster", "new.example.org" })
	w.awaitCursor(0, sequence)
	exactlyOnce(t, w, []*eventv1.Outcome{o})
}

// TestOneOwnerAtATime: two replicas do the work of one, and the other takes over.
func TestOneOwnerAtATime(t *testing.T) {
	w := newWorld(t, 2)
	first, second := w.start(), w.start()
	var outcomes []*eventv1.Outcome
	put := func() {
		t.Helper()
		for partition := range 2 {
			segment := []*eventv1.Outcome{w.failed(), w.failed()}
			outcomes = append(outcomes, segment...)
			w.awaitCursor(partition, w.append(bus.Notice, partition, segment...))
		}
	}
	put()
	put()
	if n := w.gateway.callCount(); n != len(outcomes) {
		t.Errorf("%d calls for %d notifications: both work", n, len(outcomes))
	}
	if n := strings.Count(w.log.String(), "making notifications"); n != 1 {
		t.Errorf("%d owners", n)
	}
	first.stop()
	put()
	second.stop()
	w.start()
	put()
	exactlyOnce(t, w, outcomes)
	if n := w.gateway.callCount(); n != len(outcomes) {
		t.Errorf("%d calls for %d notifications", n, len(outcomes))
	}
}

// TestQ09_AFormerOwnerCannotMoveTheCursor: one that believes it still owns the work is refused by the cursor and goes
// on waiting.
func TestQ09_AFormerOwnerCannotMoveTheCursor(t *testing.T) {
	w := newWorld(t, 1)
	o := w.failed()
	var once sync.Once
	w.gateway.hook(nil, func(int, *gatewayv1.SubmitRequest) error {
		once.Do(func() { // somebody else has settled it meanwhile and says so
			at, err := w.cursors.Read(t.Context(), 0)
			if err == nil {
				_, err = w.cursors.Advance(t.Context(), at, at.Sequence+100)
			}
			if err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	w.start(embedded)
	w.append(bus.Notice, 0, o)
	w.awaitCursor(0, 100)
	w.gateway.await(t, 1)
	if at, err := w.cursors.Read(t.Context(), 0); err != nil || at.Sequence < 100 {
		t.Errorf("cursor %+v, %v: it went back", at, err)
	}
}

// TestCursorOfAnotherStreamBeginsAgain: the store was made anew, the cursor's bucket was not.
func TestCursorOfAnotherStreamBeginsAgain(t *testing.T) {
	w := newWorld(t, 1)
	at, err := w.cursors.Read(t.Context(), 0)
	if err == nil {
		_, err = w.cursors.Advance(t.Context(), at, 5000)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := w.failed()
	w.append(bus.Notice, 0, o)
	w.start(embedded)
	w.gateway.await(t, 1)
	exactlyOnce(t, w, []*eventv1.Outcome{o})
	if !strings.Contains(w.log.String(), "another one, beginning again") {
		t.Error("nobody is told")
	}
}

// TestManyOutcomes: more than is held at once, in segments of every size.
func TestManyOutcomes(t *testing.T) {
	w := newWorld(t, 1)
	var outcomes []*eventv1.Outcome
	var sequence uint64
	for n := 1; len(outcomes) < 1500; n = n%97 + 13 {
		var segment []*eventv1.Outcome
		for range n {
			segment = append(segment, w.failed())
		}
		outcomes = append(outcomes, segment...)
		sequence = w.append(bus.Notice, 0, segment...)
	}
	w.start(func(_ *Config, env *runner.Env) { env.Queue.LeaseTTL = config.Duration(10e9) })
	w.awaitCursor(0, sequence)
	exactlyOnce(t, w, outcomes)
	if keys := w.gateway.keys(); !slices.Contains(keys, key(outcomes[len(outcomes)-1])) {
		t.Error("the last one is missing")
	}
}
