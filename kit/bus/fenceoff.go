// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// FenceOptions say who fences a subject off.
type FenceOptions struct {
	Owner string
	// Confirm as in TakeOverOptions. Nil means that nobody else can be the owner.
	Confirm func(ctx context.Context) error
	// Header, when set, gives further headers of the takeover segment from the subject's last sequence and its
	// message's header (0 and nil when the subject is empty).
	Header func(last uint64, h nats.Header) (nats.Header, error)
	// Around is the subjects, with wildcards, that the fence stands around: subject must be one of them. Empty means
	// subject alone.
	Around string
}

// FenceOff appends an empty takeover segment to one subject and returns the fence that begins with it. Each try
// reads the subject's last message, confirms the lease, and appends behind what was read. In this order a process
// that was stopped in between cannot append behind the segments of one that took over meanwhile: either its
// lease is gone, or the sequence it states is. Refused or unanswered it tries again until ctx ends.
func FenceOff(ctx context.Context, js jetstream.JetStream, subject string, o FenceOptions) (*Fence, error) {
	stream, ok := StreamOf(subject)
	if !ok {
		return nil, fmt.Errorf("fence %q: not a subject of the queue", subject)
	}
	if o.Around == "" {
		o.Around = subject
	}
	out := &outgoing{id: newSegmentID(), msg: &nats.Msg{Subject: subject}}
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		seq, again, err := fenceOnce(ctx, js, stream, out, o)
		if err == nil {
			return &Fence{stream: stream, subject: subject, filter: o.Around, last: seq}, nil
		}
		if !again {
			return nil, fmt.Errorf("fence %s: %w", subject, err)
		}
		pause := wait
		if classify(err) == refused {
			// The former owner is still at work: the next gap between its segments will do.
			pause, wait = 0, firstPause
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("fence %s: %w", subject, errors.Join(ctx.Err(), err))
		case <-time.After(pause):
		}
	}
}

func fenceOnce(
	ctx context.Context, js jetstream.JetStream, stream string, out *outgoing, o FenceOptions,
) (seq uint64, again bool, err error) {
	if out.maybeStored {
		seq, found, err := find(ctx, js, out)
		if err != nil || found {
			return seq, err != nil, err
		}
	}
	last, err := lastMessage(ctx, js, stream, o.Around)
	if err != nil {
		return 0, true, err
	}
	header := segmentHeader(0)
	if o.Header != nil {
		more, err := o.Header(last.Sequence, last.Header)
		if err != nil {
			return 0, false, err
		}
		maps.Copy(header, more)
	}
	header.Set(HeaderTakeover, o.Owner)
	header.Set(jetstream.MsgIDHeader, out.id)
	stateLast(header, out.msg.Subject, o.Around, last.Sequence)
	out.msg.Header = header
	if o.Confirm != nil {
		if err := o.Confirm(ctx); err != nil {
			return 0, !errors.Is(err, ErrLeaseLost), fmt.Errorf("confirm the lease: %w", err)
		}
	}
	if !out.maybeStored {
		out.after = last.Sequence
	}
	ack, err := publishOnce(ctx, js, out.msg, defaultPublishTimeout)
	if err == nil {
		return ack.Sequence, false, nil
	}
	switch classify(err) {
	case noAnswer:
		out.maybeStored = true
		return 0, true, err
	case notReached, full, refused:
		return 0, true, err
	default:
		return 0, false, err
	}
}
