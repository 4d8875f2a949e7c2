// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// ask asks the keeper until it answers.
func ask(t *testing.T, k *Keeper, id string) *gatewayv1.Message {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		m, _, err := k.Message(t.Context(), id)
		if err == nil && len(m.GetRecipients()) > 0 {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v, %v", m, err)
		}
		time.Sleep(10 * time.Millisecond) // polling, as a caller does that is told to come again
	}
}

// TestKeeperMendsADamagedView breaks the file under a running view.
func TestKeeperMendsADamagedView(t *testing.T) {
	q := newQueue(t)
	k, err := NewKeeper(q.options(filepath.Join(t.TempDir(), "view.db")), noop.NewMeterProvider().Meter(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Message(t.Context(), newID()); rpc.FromError(err).Code != codes.Unavailable || k.Current() == nil {
		t.Errorf("before it runs: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, opened := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx, func() { close(opened) })
	}()
	defer func() { cancel(); <-done }()
	<-opened
	first, second := newID(), newID()
	q.mail(record(withID(first, time.Now()), 0))
	ask(t, k, first)
	if _, err := k.view.Load().db.write.ExecContext(t.Context(), "DROP TABLE part"); err != nil {
		t.Fatal(err)
	}
	q.mail(record(withID(second, time.Now()), 0)) // folding it fails
	ask(t, k, second)
	ask(t, k, first)
}
