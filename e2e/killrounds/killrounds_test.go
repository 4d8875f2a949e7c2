// SPDX-License-Identifier: Apache-2.0

package killrounds_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/mail"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

const (
	submitters = 8
	// perSubmitter bounds the messages of a round.
	perSubmitter = 50
	// killWithin bounds the random moment of the kill, from the first accepted message on.
	killWithin = 400 * time.Millisecond
	drainLimit = 2 * time.Minute
)

func TestKillRounds(t *testing.T) {
	rounds, seed := number(t, "KILL_ROUNDS", 3), number(t, "KILL_SEED", 1)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	g := newGate()
	host := smtptest.NewHost(t, smtptest.HostOptions{
		Name:   "mx.recipient.example",
		OnData: func(string, []smtptest.Recipient) string { g.pass(); return "" },
	})
	zone := dnstest.Start(t, "recipient.example MX 10 mx.recipient.example\nmx.recipient.example A 127.0.0.1\n")
	options := suite.Options{Dir: t.TempDir(), Settings: suite.Settings{
		"resolver.servers":     []string{zone.Addr().String()},
		"sender.smtp_port":     host.Addr().Port(),
		"sender.retry.pauses":  []string{"1s"},
		"queue.lease_ttl":      "2s",
		"sender.timeouts.data": "5s",
	}}

	accepted := &ledger{}
	undelivered := 0
	for round := range rounds {
		// In every other round the host takes no content until the process is dead, so that the kill surely falls
		// between the accepted Submit and the delivery.
		hold := round%2 == 0
		g.set(hold)
		s := suite.Start(t, suite.AllInOne, options)
		submitUntilKilled(t, s, accepted, round, time.Duration(random.Int64N(int64(killWithin))))
		undelivered += max(0, accepted.count()-host.Counts().Messages)
		g.set(false)
		host.ForgiveViolations() // a connection that a kill cut off is not the client's fault
	}

	suite.Start(t, suite.AllInOne, options)
	ctx, cancel := context.WithTimeout(t.Context(), drainLimit)
	defer cancel()
	err := host.WaitFor(ctx, func(c smtptest.Counts) bool {
		return c.Messages >= accepted.count() && accepted.missing(delivered(t, host)) == 0
	})
	got := delivered(t, host)
	duplicates := 0
	for _, n := range got {
		duplicates += n - 1
	}
	lost := accepted.missing(got)
	t.Logf(`{"rounds": %d, "accepted": %d, "delivered": %d, "lost": %d, "duplicates": %d, "undelivered_at_kills": %d}`,
		rounds, accepted.count(), len(got), lost, duplicates, undelivered)
	if lost > 0 {
		t.Errorf("%d accepted messages are lost (%v)", lost, err)
	}
	if accepted.count() < rounds || undelivered == 0 {
		t.Errorf("the rounds did not test what they should: %d accepted, %d undelivered when killed", accepted.count(), undelivered)
	}
}

// submitUntilKilled submits from several callers and kills the process at the moment given after the first accepted
// message. What was accepted is noted before the next call.
func submitUntilKilled(t *testing.T, s *suite.Suite, accepted *ledger, round int, moment time.Duration) {
	t.Helper()
	client := s.Mail(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan struct{})
	var once sync.Once
	var callers sync.WaitGroup
	for caller := range submitters {
		callers.Go(func() {
			for n := range perSubmitter {
				id := fmt.Sprintf("<%d.%d.%d@sender.example>", round, caller, n)
				if !submit(ctx, client, id) {
					return
				}
				accepted.add(id)
				once.Do(func() { close(first) })
			}
		})
	}
	select {
	case <-first:
	case <-time.After(time.Minute):
		t.Fatal("nothing was accepted within a minute")
	}
	timer := time.NewTimer(moment)
	defer timer.Stop()
	<-timer.C
	s.Processes["postrider"].Kill(t)
	cancel()
	callers.Wait()
}

func submit(ctx context.Context, client gatewayv1.MailServiceClient, id string) bool {
	_, err := client.Submit(ctx, &gatewayv1.SubmitRequest{
		Content: []byte("From: a@sender.example\r\nMessage-ID: " + id + "\r\nSubject: round\r\n\r\nText.\r\n"),
		Envelope: &gatewayv1.Envelope{
			Sender: "a@sender.example", Recipients: []*gatewayv1.Recipient{{Address: "b@recipient.example"}},
		},
	})
	return err == nil
}

// delivered counts the messages at the host by Message-ID.
func delivered(t *testing.T, host *smtptest.Host) map[string]int {
	t.Helper()
	got := map[string]int{}
	for _, m := range host.Messages() {
		parsed, err := mail.ReadMessage(bytes.NewReader(m.Data))
		if err != nil {
			t.Fatalf("delivered message cannot be read: %v\n%q", err, m.Data)
		}
		got[parsed.Header.Get("Message-Id")]++
	}
	return got
}

// ledger holds the ids whose Submit was answered with OK.
type ledger struct {
	mu  sync.Mutex
	ids []string
}

func (l *ledger) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ids)
}

func (l *ledger) missing(got map[string]int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, id := range l.ids {
		if got[id] == 0 {
			n++
		}
	}
	return n
}

// gate lets the host take content, or not yet.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if closed {
			g.open = make(chan struct{})
		}
	default:
		if !closed {
			close(g.open)
		}
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

func number(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: must be a number above 0", name, text)
	}
	return n
}
