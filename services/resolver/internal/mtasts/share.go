// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
)

// Sharing keeps the Memory of all replicas alike through a key-value bucket, so that a restart or another replica
// still knows a policy in force. Without the bucket each replica has its own.
type Sharing struct {
	memory *Memory
	open   func(context.Context) (jetstream.KeyValue, error)
	log    *slog.Logger
	out    chan shared
}

type shared struct {
	domain string
	entry  *Entry
}

// maxWaiting is the most policies that wait to be written; more are not shared.
const maxWaiting = 1000

const (
	knownWait    = 3 * time.Second // how long known is waited for
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	writeTimeout = 5 * time.Second
)

// NewSharing returns a Sharing over the bucket of policies.
func NewSharing(js jetstream.JetStream, memory *Memory, log *slog.Logger) *Sharing {
	return &Sharing{
		memory: memory, log: log, out: make(chan shared, maxWaiting),
		open: func(ctx context.Context) (jetstream.KeyValue, error) { return js.KeyValue(ctx, bus.BucketPolicies) },
	}
}

// Share hands a policy to the other replicas. It does not wait.
func (s *Sharing) Share(domain string, e *Entry) {
	select {
	case s.out <- shared{domain, e}:
	default:
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "MTA-STS policy not shared: too many wait", slog.String("domain", domain))
	}
}

// Run takes what others share and writes what Share got, until ctx ends. known is called once, when the policies of the
// bucket are in the memory, or when that takes too long to wait for.
func (s *Sharing) Run(ctx context.Context, known func()) {
	timer := time.AfterFunc(knownWait, known)
	defer timer.Stop()
	told := func() {
		if timer.Stop() {
			known()
		}
	}
	for wait := firstPause; ctx.Err() == nil; wait = min(2*wait, longestPause) {
		if err := s.follow(ctx, told); err != nil && ctx.Err() == nil {
			s.log.LogAttrs(ctx, slog.LevelDebug, "the bucket of MTA-STS policies cannot be read, trying again", slog.Any("error", err))
			pause(ctx, wait)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow reads the bucket and everything that is written to it later.
func (s *Sharing) follow(ctx context.Context, known func()) error {
	opening, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, err := s.open(opening)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer func() { _ = watch.Stop() }()
	for {
		select {
		case value, open := <-watch.Updates():
			switch {
			case !open:
				return errors.New("the watch ended")
			case value == nil:
				known()
			default:
				s.take(ctx, kv, value)
			}
		case one := <-s.out:
			s.write(ctx, kv, one)
		case <-ctx.Done():
			return nil
		}
	}
}

// take puts a value of the bucket into the memory; what is no longer in force is removed from the bucket.
func (s *Sharing) take(ctx context.Context, kv jetstream.KeyValue, value jetstream.KeyValueEntry) {
	if value.Operation() != jetstream.KeyValuePut {
		return
	}
	var e Entry
	err := json.Unmarshal(value.Value(), &e)
	if err == nil && time.Now().Before(e.Expires()) {
		s.memory.Put(value.Key(), &e)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := kv.Purge(ctx, value.Key(), jetstream.LastRevision(value.Revision())); err != nil {
		s.log.LogAttrs(ctx, slog.LevelDebug, "expired MTA-STS policy not removed", slog.Any("error", err))
	}
}

func (s *Sharing) write(ctx context.Context, kv jetstream.KeyValue, one shared) {
	value, err := json.Marshal(one.entry)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		_, err = kv.Put(ctx, one.domain, value)
	}
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "MTA-STS policy not shared", slog.String("domain", one.domain), slog.Any("error", err))
	}
}
