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
	if len(h[HeaderCheckpoint]) == 0 {
		return nil, nil
	}
	raw, err := base64.StdEncoding.DecodeString(h.Get(HeaderCheckpoint))
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
	newest, err := newestCheckpoint(ctx, js, partition, leaderGet)
	return newest.checkpoint, err
}

// foundCheckpoint is the newest checkpoint seen so far.
type foundCheckpoint struct {
	sequence   uint64 // of its segment in OUTCOME
	checkpoint *eventv1.Checkpoint
}

// see takes the checkpoint of a segment when it is newer.
func (f *foundCheckpoint) see(sequence uint64, h nats.Header) error {
	if sequence <= f.sequence {
		return nil
	}
	c, err := CheckpointFrom(h)
	if err != nil {
		return fmt.Errorf("message %d of stream %s: %w", sequence, StreamOutcome, err)
	}
	if c != nil {
		f.sequence, f.checkpoint = sequence, c
	}
	return nil
}

// newestCheckpoint reads with leaderGet, or, where an older checkpoint is only more careful, with directGet.
func newestCheckpoint(ctx context.Context, js jetstream.JetStream, partition int, get getFunc) (foundCheckpoint, error) {
	var newest foundCheckpoint
	for _, kind := range []OutcomeKind{Quiet, Notice} {
		m, err := get(ctx, js, StreamOutcome, getRequest{LastFor: OutcomeSubject(kind, partition)})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return foundCheckpoint{}, fmt.Errorf("last checkpoint of partition %d: %w", partition, err)
		}
		if err := newest.see(m.Sequence, m.Header); err != nil {
			return foundCheckpoint{}, err
		}
	}
	return newest, nil
}
