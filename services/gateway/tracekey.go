// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
)

// traceKey is where the key lies that the gateways of one queue share when no file names one.
const traceKey = "trace-key"

// sharedKey returns the key of this queue. The first gateway makes it; whoever may read the queue may read it.
func sharedKey(ctx context.Context, js jetstream.JetStream) (*loopdetect.Key, error) {
	bucket, err := js.KeyValue(ctx, bus.BucketFingerprints)
	if err != nil {
		return nil, fmt.Errorf("trace key: %w", err)
	}
	fresh, err := loopdetect.NewKey()
	if err != nil {
		return nil, err
	}
	_, err = bucket.Create(ctx, traceKey, []byte(fresh.Hex()))
	if err == nil {
		return &fresh, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, fmt.Errorf("make trace key: %w", err)
	}
	entry, err := bucket.Get(ctx, traceKey)
	if err != nil {
		return nil, fmt.Errorf("read trace key: %w", err)
	}
	key, err := loopdetect.ParseKey(string(entry.Value()))
	if err != nil {
		return nil, fmt.Errorf("read trace key: %w", err)
	}
	return &key, nil
}
