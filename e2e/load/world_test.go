// SPDX-License-Identifier: Apache-2.0

//go:build load

package load

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/dnstest"
	"github.com/postrider/postrider/testkit/smtptest"
)

func TestLoad(t *testing.T) {
	t.Run("dead-domain", testDeadDomain)
	t.Run("silent-domain", testSilentDomain)
	t.Run("sick-domains", testSickDomains)
	t.Run("newsletter", testNewsletter)
	t.Run("retry-flood", testRetryFlood)
	t.Run("idle-partitions", testIdlePartitions)
}

// number is an environment variable, or what stands without it.
func number(t *testing.T, name string, without int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return without
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// arrivals notes when each recipient got its message.
type arrivals struct {
	mu      sync.Mutex
	at      map[string]time.Time
	changed chan struct{}
}

func newArrivals() *arrivals {
	return &arrivals{at: make(map[string]time.Time), changed: make(chan struct{})}
}

func (a *arrivals) note(m *smtptest.Message) string {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range m.To() {
		if _, twice := a.at[r]; !twice {
			a.at[r] = now
		}
	}
	close(a.changed)
	a.changed = make(chan struct{})
	return ""
}

// wait waits until ok of what has arrived.
func (a *arrivals) wait(ctx context.Context, t *testing.T, what string, ok func(at map[string]time.Time) bool) {
	t.Helper()
	for {
		a.mu.Lock()
		done, changed, n := ok(a.at), a.changed, len(a.at)
		a.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("not %s: %d messages have arrived", what, n)
		}
	}
}

// world is the all-in-one with mail hosts: one that takes everything, one address where nobody listens, and one whose
// host accepts and says nothing.
type world struct {
	suite    *suite.Suite
	mail     gatewayv1.MailServiceClient
	arrivals *arrivals
}

const (
	good   = "127.0.0.2"
	silent = "127.0.0.3"
	dead   = "127.0.0.4"
)

// start starts it with a zone: domains by the address of their mail host, each with an MX host of its own name.
func start(t *testing.T, domains map[string]string, settings suite.Settings) *world {
	t.Helper()
	w := &world{arrivals: newArrivals()}
	listeners := smtptest.SharedPort(t, good, silent)
	port := smtptest.Port(listeners[0])
	smtptest.NewHost(t, smtptest.HostOptions{Listener: listeners[0], CountOnly: true, OnDot: w.arrivals.note})
	smtptest.NewHost(t, smtptest.HostOptions{Listener: listeners[1], SilentGreeting: true})
	var zone strings.Builder
	for domain, address := range domains {
		fmt.Fprintf(&zone, "%s MX 10 mx.%s\nmx.%s A %s\n", domain, domain, domain, address)
	}
	all := suite.Settings{
		"resolver.servers": []string{dnstest.Start(t, zone.String()).Addr().String()},
		"sender.smtp_port": port, "telemetry.traces": "interesting", "node.http_listen": "off",
	}
	for key, value := range settings {
		all[key] = value
	}
	w.suite = suite.Start(t, suite.AllInOne, suite.Options{Settings: all, LogDir: t.TempDir(), Env: []string{"OTEL_SDK_DISABLED=true"}})
	w.mail = w.suite.Mail(t)
	return w
}

// letter is a message to be submitted.
type letter struct {
	to, tenant string
	priority   eventv1.Priority
}

// submit submits letters by one SubmitMany call and returns when each was accepted.
func (w *world) submit(ctx context.Context, t *testing.T, letters []letter) map[string]time.Time {
	t.Helper()
	stream, err := w.mail.SubmitMany(ctx)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(map[string]time.Time, len(letters))
	received := make(chan error, 1)
	go func() {
		for range letters {
			answer, err := stream.Recv()
			if err == nil && answer.GetRefused() != nil {
				err = fmt.Errorf("refused: %s", answer.GetRefused().GetMessage())
			}
			if err != nil {
				received <- err
				return
			}
			accepted[letters[answer.GetCorrelation()].to] = time.Now()
		}
		received <- nil
	}()
	body := strings.Repeat("The quick brown fox jumps over the lazy dog, again and again.\r\n", 30)
	for i, l := range letters {
		err := stream.Send(&gatewayv1.SubmitManyRequest{
			Correlation: uint64(i),
			Envelope: &gatewayv1.Envelope{
				Sender: "a@sender.example", Tenant: l.tenant, Priority: l.priority, Recipients: []*gatewayv1.Recipient{{Address: l.to}},
			},
			Content: []byte(fmt.Sprintf("From: a@sender.example\r\nSubject: %d\r\nMessage-ID: <%s.%s>\r\n\r\n%s", i, strings.Replace(l.to, "@", ".", 1), "id@sender.example", body)),
		})
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal(err)
	}
	return accepted
}

// letters are n letters to one domain.
func letters(n int, name, domain string) []letter {
	list := make([]letter, n)
	for i := range list {
		list[i].to = fmt.Sprintf("%s%d@%s", name, i, domain)
	}
	return list
}

// latest is the longest between acceptance and arrival of those accepted.
func (w *world) latest(accepted map[string]time.Time) (longest, last time.Duration) {
	w.arrivals.mu.Lock()
	defer w.arrivals.mu.Unlock()
	var first, end time.Time
	for to, at := range accepted {
		if arrived, ok := w.arrivals.at[to]; ok {
			longest = max(longest, arrived.Sub(at))
			if first.IsZero() || at.Before(first) {
				first = at
			}
			if arrived.After(end) {
				end = arrived
			}
		}
	}
	return longest, end.Sub(first)
}

// arrived waits until all of the accepted are there.
func (w *world) arrived(ctx context.Context, t *testing.T, accepted map[string]time.Time) {
	t.Helper()
	w.arrivals.wait(ctx, t, fmt.Sprintf("all of %d there", len(accepted)), func(at map[string]time.Time) bool {
		if len(at) < len(accepted) {
			return false
		}
		for to := range accepted {
			if _, ok := at[to]; !ok {
				return false
			}
		}
		return true
	})
}

// memory is the resident memory of a process in MiB.
func memory(t *testing.T, p *suite.Process) int {
	t.Helper()
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
