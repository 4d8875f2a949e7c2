// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const (
	rate    = 100 // messages a second
	load    = 20 * time.Second
	killAt  = 5 * time.Second
	back    = 30 * time.Second
	loadTag = "killed-sender"
)

// generator hands in messages at a steady rate and remembers when each was accepted.
type generator struct {
	mail gatewayv1.MailServiceClient

	mu       sync.Mutex
	accepted map[string]time.Time // by subject
	refused  []error
	running  sync.WaitGroup
}

func (g *generator) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for n := 0; n < int(load.Seconds())*rate; n++ {
		select {
		case <-tick.C:
			g.running.Go(func() { g.submit(ctx, n) })
		case <-ctx.Done():
			return
		}
	}
	g.running.Wait()
}

func (g *generator) submit(ctx context.Context, n int) {
	subject := loadTag + "-" + strconv.Itoa(n)
	content := "From: orders@shop.example\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@shop.example>\r\n\r\nload\r\n"
	_, err := g.mail.Submit(ctx, &gatewayv1.SubmitRequest{Content: []byte(content), Envelope: &gatewayv1.Envelope{
		Sender: "orders@shop.example", Recipients: []*gatewayv1.Recipient{{Address: fmt.Sprintf("reader%d@load.example", n)}}, Tag: loadTag,
	}})
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		g.refused = append(g.refused, err)
		return
	}
	g.accepted[subject] = time.Now()
}

// killedSender kills one of two senders with SIGKILL, from the host so that it counts as a crash, under load. Every
// message that was accepted arrives, and the sender is back, within the limit.
func (s *stack) killedSender(t *testing.T) {
	g := &generator{mail: s.mail, accepted: map[string]time.Time{}}
	ctx, cancel := context.WithTimeout(t.Context(), load+time.Minute)
	defer cancel()
	generated := make(chan struct{})
	begin := time.Now()
	go func() { g.run(ctx); close(generated) }()
	<-time.After(killAt)
	victim := s.containers(t, "sender")[0]
	killed, restarted, healthy := s.crash(t, victim)
	<-generated
	if len(g.refused) > 0 {
		t.Errorf("%d messages were not accepted, the first for %v", len(g.refused), g.refused[0])
	}
	t.Logf("FIGURE kill -9 of a sender %.1f s into %d messages/s: running again after %.1f s, healthy after %.1f s (limit %s)",
		killed.Sub(begin).Seconds(), rate, restarted.Sub(killed).Seconds(), healthy.Sub(killed).Seconds(), back)
	if healthy.Sub(killed) > back {
		t.Errorf("the sender was back after %s, the limit is %s", healthy.Sub(killed), back)
	}
	s.checkArrived(t, g)
	for subject := range s.stuck(t) {
		t.Errorf("%s is not done in the gateway's view", subject)
	}
}

// crash kills a container's process and waits until it runs and is healthy again.
func (s *stack) crash(t *testing.T, container string) (killed, restarted, healthy time.Time) {
	t.Helper()
	pid, err := strconv.Atoi(inspect(t, container, "{{.State.Pid}}"))
	if err != nil || pid <= 1 {
		t.Fatalf("pid of %s: %d, %v", container, pid, err)
	}
	killed = time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill the sender (needs root, and an engine on this machine): %v", err)
	}
	again := strconv.Itoa(pid)
	eventually(t, time.Minute, "the sender running again", func() bool {
		now := inspect(t, container, "{{.State.Running}} {{.State.Pid}}")
		return strings.HasPrefix(now, "true ") && now != "true "+again
	})
	restarted = time.Now()
	eventually(t, time.Minute, "the sender healthy again", func() bool { return inspect(t, container, "{{.State.Health.Status}}") == "healthy" })
	return killed, restarted, time.Now()
}

// checkArrived waits until the mail host has every accepted message, and tells how long the slowest took.
func (s *stack) checkArrived(t *testing.T, g *generator) {
	t.Helper()
	arrived := map[string]time.Time{}
	copies := 0
	var missing []string
	deadline := time.Now().Add(time.Minute)
	for {
		clear(arrived)
		copies, missing = 0, nil
		for _, line := range s.host(t, "demo-good") {
			if line.Msg == "took" && strings.HasPrefix(line.Subject, loadTag) {
				copies++
				if _, twice := arrived[line.Subject]; !twice {
					arrived[line.Subject] = line.Time
				}
			}
		}
		for subject := range g.accepted {
			if _, ok := arrived[subject]; !ok {
				missing = append(missing, subject)
			}
		}
		if len(missing) == 0 || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Second) // the host's log is read anew, at most once a second
	}
	var slowest time.Duration
	for subject, at := range g.accepted {
		if took := arrived[subject].Sub(at); took > slowest {
			slowest = took
		}
	}
	t.Logf("FIGURE accepted %d, arrived %d, lost %d, delivered twice %d, slowest delivery %.1f s",
		len(g.accepted), len(arrived), len(missing), copies-len(arrived), slowest.Seconds())
	if len(missing) > 0 {
		t.Errorf("%d messages are lost, such as %s", len(missing), missing[0])
	}
	if slowest > back {
		t.Errorf("the slowest delivery took %s, the limit is %s", slowest, back)
	}
}

// stuck are the messages of the load that the gateway does not know as done, after a while.
func (s *stack) stuck(t *testing.T) map[string]bool {
	t.Helper()
	var open map[string]bool
	for deadline := time.Now().Add(delivery); ; time.Sleep(time.Second) { // each question lists all messages
		open = map[string]bool{}
		total := 0
		request := &gatewayv1.ListMessagesRequest{Tag: loadTag, PageSize: 500}
		for {
			page, err := s.mail.ListMessages(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			total += len(page.GetMessages())
			for _, m := range page.GetMessages() {
				if m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_DONE {
					open[m.GetMessageId()] = true
				}
			}
			if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
				break
			}
		}
		if len(open) == 0 && total > 0 || time.Now().After(deadline) {
			return open
		}
	}
}
