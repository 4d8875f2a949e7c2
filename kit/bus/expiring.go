// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const kvOperation = "KV-Operation" // header of the mark left by a deleted key

// expiring is keys of a bucket that the server removes when they are not written again in time. The
// key-value API sets a time to live only when it creates a key, so a renewal is published as the bucket's stream
// wants it.
type expiring struct {
	js     jetstream.JetStream
	bucket string
	ttl    string
}

func openExpiring(ctx context.Context, js jetstream.JetStream, bucket string, ttl time.Duration) (*expiring, error) {
	if ttl < time.Second {
		return nil, fmt.Errorf("time to live of %v is under a second", ttl)
	}
	if _, err := js.KeyValue(ctx, bucket); err != nil {
		return nil, fmt.Errorf("key-value bucket %s: %w", bucket, err)
	}
	seconds := (ttl + time.Second - 1) / time.Second // never shorter than the owner believes
	return &expiring{js: js, bucket: bucket, ttl: strconv.Itoa(int(seconds)) + "s"}, nil
}

// ownersStream is the stream below BucketOwners.
const ownersStream = "KV_" + BucketOwners

func ownersSubject(key string) string { return keySubject(BucketOwners, key) }

func keySubject(bucket, key string) string { return "$KV." + bucket + "." + key }

func (e *expiring) subject(key string) string { return keySubject(e.bucket, key) }

// entry is a key as the leader knows it. When there is none the value is empty and the revision is what put has to state.
type entry struct {
	value    string
	revision uint64
	ttl      time.Duration // 0 when it does not say
}

func (e *expiring) get(ctx context.Context, key string) (entry, error) {
	m, err := leaderGet(ctx, e.js, "KV_"+e.bucket, getRequest{LastFor: e.subject(key)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	// A mark of a deleted or expired key has no data.
	return entry{value: string(m.Data), revision: m.Sequence, ttl: ttlOf(m.Header)}, nil
}

// ttlOf returns the time to live a key was written with, 0 when it does not say.
func ttlOf(h nats.Header) time.Duration {
	ttl, err := time.ParseDuration(h.Get(jetstream.MsgTTLHeader))
	if err != nil {
		return 0
	}
	return ttl
}

// overdue is how long a key that nobody writes any more is waited for, before whoever waits no longer counts on the server
// to remove it: nats-server 2.15.2 goes by its wall clock, and keys that came due while it had no room, or was down, may
// stay for good. Its owner does not believe in it any more either, as it counts from before it wrote.
func overdue(ttl time.Duration) time.Duration { return ttl + ttl/4 }

// put writes a key if its revision is still the one given, and starts its time to live anew.
func (e *expiring) put(ctx context.Context, key, value string, revision uint64) (uint64, error) {
	m := &nats.Msg{Subject: e.subject(key), Data: []byte(value), Header: nats.Header{
		jetstream.MsgTTLHeader: {e.ttl}, jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)},
	}}
	ack, err := publishOnce(ctx, e.js, m, defaultPublishTimeout)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// remove deletes a key if its revision is still the one given.
func (e *expiring) remove(ctx context.Context, key string, revision uint64) error {
	m := &nats.Msg{Subject: e.subject(key), Header: nats.Header{
		kvOperation: {"DEL"}, jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)},
		jetstream.MsgTTLHeader: {strconv.Itoa(int(limitMarkerTTL/time.Second)) + "s"},
	}}
	_, err := publishOnce(ctx, e.js, m, defaultPublishTimeout)
	return err
}

// checkName refuses what cannot be part of a key.
func checkName(name string) error {
	for part := range strings.SplitSeq(name, ".") {
		bad := func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
		}
		if part == "" || strings.ContainsFunc(part, bad) {
			return fmt.Errorf("bad name %q", name)
		}
	}
	return nil
}
