// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// keysResult counts what calls with idempotency keys were answered.
type keysResult struct {
	Keys        int `json:"keys"`
	Calls       int `json:"calls"`
	FirstAnswer int `json:"first_answer"` // the id of the key's one message
	KeyReused   int `json:"key_reused"`
	NoAnswer    int `json:"no_answer"` // a gateway was gone, or did not know yet
	Kills       int `json:"kills"`
	Messages    int `json:"messages"`   // at the sink
	Duplicates  int `json:"duplicates"` // there
	Wrong       int `json:"wrong"`      // other answers
}

// keyedMail is what is known of one key.
type keyedMail struct {
	key     string
	mu      sync.Mutex
	id      string // of the message that was accepted
	content int    // of it
	reused  [contents]bool
}

// contents is how many different contents are submitted under one key.
const contents = 2

func (k *keyedMail) request(content int) (*gatewayv1.SubmitRequest, string) {
	m := mailOf{kind: kindPlain, id: fmt.Sprintf("%s.%s.%d@%s", kindPlain, k.key, content, senderDomain), recipients: []string{"a@d0.example"}}
	r := m.request()
	r.Envelope.Sender, r.Envelope.IdempotencyKey = "s-"+k.key+"@"+senderDomain, k.key
	return r, m.id
}

// TestG12_OneKeyOverTwoGateways is make chaos-keys: calls under the same keys, with two contents, at random moments, over
// two gateways of which one or the other is killed, and the store once. Without KEYS_SECONDS it is a short one.
func TestG12_OneKeyOverTwoGateways(t *testing.T) {
	calls, length := number(t, "KEYS_CALLS", 40), time.Duration(number(t, "KEYS_SECONDS", 20))*time.Second
	dir := folderOf(t, "keys")
	w := newWorld(t, dir, options{seed: number(t, "CHAOS_SEED", 1)})
	s := &layout{world: w, second: freePort(t)}
	s.start(shortLease)
	s.launch(secondGateway).Serving(t)
	r := keysResult{Keys: 3, Calls: 3 * calls}
	k := &keyCalls{t: t, r: &r, gateways: []gatewayv1.MailServiceClient{dialTo(t, w.gateway), dialTo(t, s.second)}}
	keys := make([]*keyedMail, r.Keys)
	begin := time.Now()
	var running sync.WaitGroup
	for i := range keys {
		keys[i] = &keyedMail{key: fmt.Sprintf("key%d", i), content: -1}
		random := w.random(i)
		for range calls {
			at, content, gateway := between(random, 0, length), random.IntN(contents), random.IntN(len(k.gateways))
			running.Go(func() {
				time.Sleep(time.Until(begin.Add(at)))
				k.call(keys[i], content, gateway)
			})
		}
	}
	random := w.random(len(keys))
	for time.Since(begin) < length {
		time.Sleep(between(random, time.Second, 6*time.Second))
		victim := []string{"gateway", secondGateway, "gateway", secondGateway, "nats-server"}[r.Kills%5]
		s.kill(victim, between(random, 0, 2*time.Second))
		r.Kills++
	}
	running.Wait()
	s.settle()
	s.suite.Processes[secondGateway].Serving(t)
	for _, key := range keys {
		for content := range contents {
			for gateway := range k.gateways {
				r.Calls++
				k.untilAnswered(key, content, gateway)
			}
		}
	}
	k.arrived(w, keys)
	w.must(save(filepath.Join(dir, resultFile), r))
	if r.Wrong > 0 || r.Duplicates > 0 || r.Messages != r.Keys || r.KeyReused == 0 || r.FirstAnswer == 0 || r.Kills == 0 {
		t.Errorf("%+v", r)
	}
	t.Logf("%+v", r)
}

// folderOf is where a run keeps what it has; without CHAOS_STATE a fresh one.
func folderOf(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv("CHAOS_STATE") == "" {
		return t.TempDir()
	}
	dir := filepath.Join(os.Getenv("CHAOS_STATE"), name)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func dialTo(t *testing.T, address string) gatewayv1.MailServiceClient {
	t.Helper()
	conn, err := rpc.Dial(address, rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return gatewayv1.NewMailServiceClient(conn)
}

// keyCalls makes calls and judges their answers.
type keyCalls struct {
	t        *testing.T
	gateways []gatewayv1.MailServiceClient

	mu sync.Mutex
	r  *keysResult
}

// call submits once and reports whether there was an answer.
func (k *keyCalls) call(key *keyedMail, content, gateway int) bool {
	ctx, cancel := context.WithTimeout(k.t.Context(), callTimeout)
	defer cancel()
	request, _ := key.request(content)
	answer, err := k.gateways[gateway].Submit(ctx, request)
	k.mu.Lock()
	defer k.mu.Unlock()
	key.mu.Lock()
	defer key.mu.Unlock()
	refusal := rpc.FromError(err)
	switch {
	case err == nil && key.id == "":
		key.id, key.content = answer.GetAccepted().GetMessageId(), content
		k.r.FirstAnswer++
	case err == nil && key.id == answer.GetAccepted().GetMessageId() && key.content == content:
		k.r.FirstAnswer++
	case err == nil:
		k.r.Wrong++
		k.t.Errorf("%s: content %d was accepted as %v, after %d as %s", key.key, content, answer, key.content, key.id)
	case refusal.Code == codes.AlreadyExists && refusal.Reason == "KEY_REUSED" && key.content != content:
		k.r.KeyReused++
		key.reused[content] = true
	case refusal.Code == codes.Unavailable || refusal.Code == codes.DeadlineExceeded:
		k.r.NoAnswer++
		return false
	default:
		k.r.Wrong++
		k.t.Errorf("%s: content %d was refused: %v", key.key, content, err)
	}
	return true
}

// untilAnswered submits until there is an answer: in the end both gateways know.
func (k *keyCalls) untilAnswered(key *keyedMail, content, gateway int) {
	k.t.Helper()
	for deadline := time.Now().Add(time.Minute); !k.call(key, content, gateway); time.Sleep(afterFailure) {
		if time.Now().After(deadline) {
			k.t.Fatalf("%s: gateway %d gives no answer", key.key, gateway)
		}
	}
}

// arrived waits for the messages and counts what is more than they.
func (k *keyCalls) arrived(w *world, keys []*keyedMail) {
	k.t.Helper()
	for _, key := range keys {
		if key.reused[key.content] {
			k.r.Wrong++
			k.t.Errorf("%s: content %d was accepted, and refused as other content", key.key, key.content)
		}
		_, id := key.request(key.content)
		w.tally.accepted[id] = []string{"a@d0.example"}
	}
	w.drain()
	for d, n := range w.tally.delivered {
		k.r.Messages++
		k.r.Duplicates += n - 1
		if w.tally.accepted[d.id] == nil {
			k.r.Wrong++
			k.t.Errorf("%s was delivered, and its content was not accepted", d.id)
		}
	}
}
