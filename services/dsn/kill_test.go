// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
	"github.com/postrider/postrider/testkit/bustest"
)

// child is the service as a real process.
type child struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{}
}

// spawn starts a process of this test binary that is the service.
func (w *world) spawn() *child {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "dsn.yaml")
	text := fmt.Sprintf(`
node: {name: mail.example.org, http_listen: "off"}
nats: {url: %q, replicas: 1, max_store: 1GiB, outcome_bytes: 1MiB}
queue: {partitions: %d, lease_ttl: 1s}
dsn: {listen: "127.0.0.1:0", gateway_address: %q, token_file: %q, concurrency: 3, %s}
`, w.nats.URL(), w.layout.Partitions, w.address, w.tokenFile, w.settings)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	c := &child{done: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0], "--config", file)
	c.cmd.Env = append(os.Environ(), childVariable+"=1", "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none")
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if err := c.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait() // it is killed
	}()
	w.t.Cleanup(c.kill)
	return c
}

// kill is kill -9.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.done
}

// TestQ09_KilledAnywhere is the row "dsn anywhere" of the crash table: a real process is killed with SIGKILL at random
// calls, before the gateway took them, after it, and when the answer is on its way, while outcomes keep coming.
func TestQ09_KilledAnywhere(t *testing.T) {
	w := newWorld(t, 2, func(o *bustest.Options) { o.Listen = true })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var outcomes []*eventv1.Outcome
	last := map[int]uint64{}
	put := func(n int) {
		for i := range n {
			segment := []*eventv1.Outcome{w.failed(), w.failed(), w.failed()}
			last[i%2] = w.append(bus.Notice, i%2, segment...)
			outcomes = append(outcomes, segment...)
		}
	}
	for round := range 8 {
		put(2)
		var calls atomic.Int64
		deadly := 1 + random.Int64N(6)
		armed, hit := make(chan struct{}), make(chan struct{})
		var c *child
		die := func(int, *gatewayv1.SubmitRequest) error {
			if calls.Add(1) == deadly {
				<-armed
				close(hit)
				if round%3 != 2 {
					c.kill()
				}
			}
			return nil
		}
		if round%3 == 0 {
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
			t.Fatalf("the service does not work:\n%s", c.output.String())
		}
		c.kill()
	}
	w.gateway.hook(nil, nil)
	put(1)
	c := w.spawn()
	for partition, sequence := range last {
		w.awaitCursor(partition, sequence)
	}
	c.kill()
	exactlyOnce(t, w, outcomes)
	t.Logf("%d notifications, %d calls", len(outcomes), w.gateway.callCount())
}
