// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// SharedKeys is keys of BucketFingerprints: what several processes count or note together, removed by the server when it
// was not written for the time to live. The bucket holds no more than MaxFingerprints keys.
type SharedKeys struct{ keys *expiring }

// OpenSharedKeys returns the keys under a time to live of a second or more.
func OpenSharedKeys(ctx context.Context, js jetstream.JetStream, ttl time.Duration) (*SharedKeys, error) {
	keys, err := openExpiring(ctx, js, BucketFingerprints, ttl)
	if err != nil {
		return nil, err
	}
	return &SharedKeys{keys}, nil
}

// Get returns a key's value, as the leader knows it, and the revision Put has to state. Without such a key the value is
// empty.
func (s *SharedKeys) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	known, err := s.keys.get(ctx, key)
	if err != nil {
		return nil, 0, fmt.Errorf("read shared key: %w", err)
	}
	return []byte(known.value), known.revision, nil
}

// Put writes a key if its revision is still the one given (0: there is no such key) and starts its time to live anew.
// stored is false, without an error, when another was faster. A full bucket is a *FullError.
func (s *SharedKeys) Put(ctx context.Context, key string, value []byte, revision uint64) (stored bool, err error) {
	if err := checkName(key); err != nil {
		return false, fmt.Errorf("write shared key: %w", err)
	}
	_, err = s.keys.put(ctx, key, string(value), revision)
	if err == nil {
		return true, nil
	}
	switch classify(err) {
	case refused:
		return false, nil
	case full:
		return false, &FullError{Subject: s.keys.subject(key), Err: err}
	}
	return false, fmt.Errorf("write shared key: %w", err)
}
