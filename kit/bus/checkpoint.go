// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// HeaderCheckpoint carries the checkpoint of an OUTCOME segment: base64 of an event.v1.Checkpoint.
const HeaderCheckpoint = "Postrider-Checkpoint"

// SetCheckpoint puts a checkpoint into the header of an OUTCOME segment.
func SetCheckpoint(h nats.Header, c *eventv1.Checkpoint) error {
	raw, err := proto.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	h.Set(HeaderCheckpoint, base64.StdEncoding.EncodeToString(raw))
	return nil
}

// CheckpointFrom reads the checkpoint of a segment's header. It returns nil without an error when there is none.
func CheckpointFrom(h nats.Header) (*eventv1.Checkpoint, error) {
	text := h.Get(HeaderCheckpoint)
	if text == "" {
		return nil, nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("checkpoint header: %w", err)
	}
	c := new(eventv1.Checkpoint)
	if err := proto.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("checkpoint header: %w", err)
	}
	return c, nil
}

// LastCheckpoint returns the newest checkpoint of a partition: that of the later one of the last segments on its
// two OUTCOME subjects. It returns nil without an error when neither has one. Every OUTCOME segment of an owner
// has to carry one.
func LastCheckpoint(ctx context.Context, js jetstream.JetStream, partition int) (*eventv1.Checkpoint, error) {
	var newest uint64
	var last *eventv1.Checkpoint
	for _, kind := range []OutcomeKind{Quiet, Notice} {
		subject := OutcomeSubject(kind, partition)
		m, err := leaderGet(ctx, js, StreamOutcome, getRequest{LastFor: subject})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("last checkpoint of partition %d: %w", partition, err)
		}
		c, err := CheckpointFrom(m.Header)
		if err != nil {
			return nil, fmt.Errorf("message %d on %s: %w", m.Sequence, subject, err)
		}
		if c != nil && m.Sequence > newest {
			newest, last = m.Sequence, c
		}
	}
	return last, nil
}

// carryOn puts the former owner's checkpoint into the header of a takeover segment.
func carryOn(h nats.Header, former *eventv1.Checkpoint, o TakeOverOptions) error {
	c := proto.CloneOf(former)
	c.Clean = false
	c.Owner = o.Owner
	c.LeaseRevision = o.LeaseRevision
	return SetCheckpoint(h, c)
}
