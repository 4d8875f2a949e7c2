// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestCluster loses the leader of a stream and gets it back: what was acknowledged is there, and publishing goes on.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	js := c.JetStream()
	st := stream(t, js, 3)
	publish(t, js, 10)
	leader := c.Leader("MAIL")
	if leader < 0 || leader >= c.Size() {
		t.Fatalf("leader %d", leader)
	}
	info, err := st.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Cluster.Leader != c.Node(leader).Name() || len(info.Cluster.Replicas) != 2 {
		t.Errorf("cluster %+v, leader %d", info.Cluster, leader)
	}

	c.Stop(leader)
	if c.Node(leader) != nil {
		t.Error("the stopped server is still there")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for { // until another one leads
		tryCtx, done := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := js.Publish(tryCtx, "mail.0", []byte("x"), jetstream.WithMsgID("once"))
		done()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	c.StartAgain(leader)
	c.AwaitReady(patience)
	if n := count(t, js); n != 11 {
		t.Errorf("%d messages", n)
	}
}

func TestClusterNeedsAMajority(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	stream(t, c.JetStream(), 3)
	publish(t, c.JetStream(), 1)
	if got := misuse(t, func(rec *recorder) { c.tb = rec; c.StartAgain(0) }); !strings.Contains(got, "runs already") {
		t.Errorf("reported %q", got)
	}
	c.tb = t
	c.Stop(0)
	c.Stop(1)
	if got := misuse(t, func(rec *recorder) { c.tb = rec; c.AwaitReady(time.Second) }); !strings.Contains(got, "not ready within 1s") {
		t.Errorf("reported %q", got)
	}
	c.tb = t
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.JetStream().Publish(ctx, "mail.0", []byte("x")); err == nil {
		t.Error("one server of three acknowledged")
	} else if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, nats.ErrNoResponders) &&
		!errors.Is(err, jetstream.ErrNoStreamResponse) && !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publish: %v", err)
	}
}
