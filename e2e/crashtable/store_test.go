// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// lostFor is how long an answer stays away: the server knows the id of a publish for two minutes.
const lostFor = 3 * time.Minute

// TestQ09_AnswerLost: a publish of the sender is stored and its answer does not come for three minutes, nor does anything
// else from the server. Until then the publish is repeated, and when the server can be asked again it has long forgotten
// the id: only a look at the subject says that it is there.
func TestQ09_AnswerLost(t *testing.T) {
	for name, publish := range map[string]string{"outcome": "HPUB outcome.", "retry": "HPUB retry."} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			ctx, cancel := context.WithTimeout(t.Context(), lostFor+2*patience)
			defer cancel()
			w.ctx = ctx
			w.options.Settings["queue.partitions"] = 1
			w.suite = suite.Start(t, suite.FourProcesses, w.options)
			way := suite.NewWire(t, strings.TrimPrefix(w.suite.NATS, "nats://"))
			w.suite.Processes["sender"].Stop(t)
			sender := w.suite.Launch(t, "sender", "sender", suite.Settings{"nats.url": "nats://" + way.Addr()})
			sender.Serving(t)
			frozen := make(chan struct{})
			w.remote.onData = func() {
				way.FreezeAnswersTo(publish)
				close(frozen)
			}
			if !w.submit() {
				t.Fatal("the record is not accepted")
			}
			select {
			case <-frozen:
			case <-ctx.Done():
				t.Fatal("no DATA")
			}
			time.Sleep(lostFor)
			if n := w.remote.count(delivered); n != 1 {
				t.Errorf("meanwhile %s has got it %d times", delivered, n)
			}
			if n := w.remote.count(deferred); n != 0 {
				t.Errorf("the answer was not lost: %s has got it", deferred)
			}
			way.Melt()
			check(t, w, w.outcome(), row{})
			select {
			case <-sender.Exited():
				t.Error("the sender has ended")
			default:
			}
		})
	}
}

const (
	// transactions are in DATA when the store goes away, storeAway is for how long it does.
	transactions = 20
	storeAway    = 90 * time.Second
)

// TestQ11_StoreAwayDuringTransactions: nats-server is killed while 20 transactions, and that of the record of five, are in
// DATA, and comes back 90 s later. What was in DATA is delivered once and settled after that; submissions are answered
// UNAVAILABLE meanwhile, and the gateway says that it does not serve.
func TestQ11_StoreAwayDuringTransactions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), storeAway+2*patience)
	defer cancel()
	w.ctx = ctx
	w.options.Settings["queue.partitions"] = 4
	inData, goOn := make(chan struct{}, transactions+1), make(chan struct{})
	second := newRemote(t, fmt.Sprintf("127.0.0.2:%d", w.remote.host.Addr().Port()))
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	w.remote.onData = func() { inData <- struct{}{}; <-goOn }
	second.onEveryData = w.remote.onData
	w.suite = suite.Start(t, suite.FourProcesses, w.options)
	mail := w.suite.Mail(t)
	var ids []string
	for n := range transactions {
		ids = append(ids, suite.Submit(ctx, t, mail, content(n), author, fmt.Sprintf("a@u%d.example", n)))
	}
	if !w.submit() {
		t.Fatal("the record is not accepted")
	}
	for n := range transactions + 1 {
		select {
		case <-inData:
		case <-ctx.Done():
			t.Fatalf("%d transactions are in DATA", n)
		}
	}
	w.suite.Processes["nats-server"].Kill(t)
	release()
	w.away(storeAway)
	where, err := url.Parse(w.suite.NATS)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(where.Port())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(second.host.Messages()); n != transactions {
		t.Errorf("%d of %d transactions came to their end while the store was away", n, transactions)
	}
	w.suite.StartNATS(t, port)
	check(t, w, w.outcome(), row{})
	for n, id := range ids {
		suite.Await(ctx, t, mail, id, "done", suite.Done)
		if got := second.count(fmt.Sprintf("a@u%d.example", n)); got != 1 {
			t.Errorf("message %d was delivered %d times", n, got)
		}
	}
	if err := runner.CheckHealth(ctx, w.suite.Gateway, config.TLS{}); err != nil {
		t.Errorf("in the end: %v", err)
	}
}

// away lets time pass in which no submission may be accepted, and each is told why.
func (w *world) away(d time.Duration) {
	w.t.Helper()
	mail, refused := w.suite.Mail(w.t), 0
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		request := &gatewayv1.SubmitRequest{Envelope: w.request().GetEnvelope(), Content: content(0)}
		request.Envelope.IdempotencyKey = ""
		ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
		_, err := mail.Submit(ctx, request)
		cancel()
		refusal := rpc.FromError(err)
		if err == nil || refusal.Code != codes.Unavailable || refusal.RetryAfter <= 0 || refusal.Reason == "" {
			w.t.Fatalf("without a store a submission was answered %v", err)
		}
		if refused++; refused == 3 {
			if err := runner.CheckHealth(w.ctx, w.suite.Gateway, config.TLS{}); !errors.Is(err, runner.ErrNotServing) {
				w.t.Errorf("health without a store: %v", err)
			}
		}
	}
	if refused < 3 {
		w.t.Errorf("%d submissions were tried", refused)
	}
}

func content(n int) []byte {
	return []byte(fmt.Sprintf("From: <%s>\r\nMessage-ID: <%d@sender.example>\r\nSubject: one\r\n\r\nText.\r\n", author, n))
}
