// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Fence keeps former owners of a partition from appending to one subject. It knows the last sequence on the
// subject as its owner left it; every append states it (Nats-Expected-Last-Subject-Sequence), so whatever
// anyone else has appended meanwhile makes the server refuse, with error 10071.
//
// The server reads the subject's last message as it stands: after a purge has emptied the subject the number to
// state is 0, whatever was there before.
type Fence struct {
	stream, subject string

	mu   sync.Mutex
	last uint64
}

// Subject returns the subject the fence stands around.
func (f *Fence) Subject() string { return f.subject }

// Last returns the last sequence on the subject as the owner knows it, 0 when the subject is empty.
func (f *Fence) Last() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *Fence) moveTo(seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = seq
}

// TakeOverOptions say who takes a partition over.
type TakeOverOptions struct {
	Owner         string
	LeaseRevision uint64
	// RetryMinutes are the RETRY streams to fence. Empty means all that exist.
	RetryMinutes []int
}

// Taken is a partition that was taken over.
type Taken struct {
	// Checkpoint as the former owner left it; nil when there was none: then everything is to be read.
	Checkpoint *eventv1.Checkpoint
	// Fences by subject, for FencedSubjects.
	Fences map[string]*Fence
}

// TakeOver fences a partition off: it reads the last checkpoint and then appends an empty takeover segment to
// each subject that only the owner appends to. When it returns, nothing a former owner still has on its way can
// be stored any more. The caller holds the lease, and reads the streams only after this.
//
// The takeover segments in OUTCOME carry the checkpoint on, with clean taken off, so that the last segment of
// the subject always has one: whoever takes over next must not believe that this owner left nothing in flight.
func TakeOver(ctx context.Context, js jetstream.JetStream, partition int, o TakeOverOptions) (*Taken, error) {
	minutes := o.RetryMinutes
	if len(minutes) == 0 {
		var err error
		if minutes, err = RetryStreams(ctx, js); err != nil {
			return nil, err
		}
	}
	checkpoint, err := LastCheckpoint(ctx, js, partition)
	if err != nil {
		return nil, err
	}
	subjects := FencedSubjects(partition, minutes)
	carried := nats.Header{}
	if checkpoint != nil {
		if err := carryOn(carried, checkpoint, o); err != nil {
			return nil, err
		}
	}
	fences, errs := make([]*Fence, len(subjects)), make([]error, len(subjects))
	var wg sync.WaitGroup
	for i, subject := range subjects {
		wg.Go(func() {
			var h nats.Header
			if stream, _ := StreamOf(subject); stream == StreamOutcome {
				h = carried
			}
			fences[i], errs[i] = FenceOff(ctx, js, subject, o.Owner, h)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("take over partition %d: %w", partition, err)
	}
	taken := &Taken{Checkpoint: checkpoint, Fences: make(map[string]*Fence, len(subjects))}
	for _, f := range fences {
		taken.Fences[f.subject] = f
	}
	return taken, nil
}

// FenceOff appends an empty takeover segment to one subject and returns the fence that begins with it. It states
// no expected sequence: a former owner that appends at full speed could keep making that wrong, and what is
// stored behind its last segment refuses it just as well. Of two that take over at once, the one whose segment
// was stored first is refused next, and its lease decides (AppenderOptions.OnRefused). Lost answers are repeated
// under the same id until ctx ends.
func FenceOff(ctx context.Context, js jetstream.JetStream, subject, owner string, h nats.Header) (*Fence, error) {
	stream, ok := StreamOf(subject)
	if !ok {
		return nil, fmt.Errorf("fence %q: not a subject of the queue", subject)
	}
	header := segmentHeader(0)
	for name, values := range h {
		header[name] = values
	}
	header.Set(HeaderTakeover, owner)
	header.Set(jetstream.MsgIDHeader, ulid.Make().String())
	msg := &nats.Msg{Subject: subject, Header: header}
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		ack, err := publishOnce(ctx, js, msg, defaultPublishTimeout)
		if err == nil {
			return &Fence{stream: stream, subject: subject, last: ack.Sequence}, nil
		}
		switch classify(err) {
		case noAnswer, notReached, full:
		default:
			return nil, fmt.Errorf("fence %s: %w", subject, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("fence %s: %w", subject, errors.Join(ctx.Err(), err))
		case <-time.After(wait):
		}
	}
}
