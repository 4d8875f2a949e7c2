// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

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
	filter          string // subjects it stands around, with wildcards; subject itself, or one that covers it

	mu   sync.Mutex
	last uint64
}

// Subject returns the subject the fence was made with.
func (f *Fence) Subject() string { return f.subject }

// state puts into a header what the server is to compare.
func (f *Fence) state(h nats.Header, last uint64) { stateLast(h, f.subject, f.filter, last) }

func stateLast(h nats.Header, subject, filter string, last uint64) {
	h.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
	if filter != subject {
		h.Set(jetstream.ExpectedLastSubjSeqSubjHeader, filter)
	}
}

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
	// Confirm renews the lease (Lease.Renew). It is called for each try, between reading a subject's last sequence
	// and appending behind it, and by several goroutines at once. An error that wraps ErrLeaseLost ends the
	// takeover, after any other there is another try.
	Confirm func(ctx context.Context) error
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

// TakeOver fences a partition off: it appends an empty takeover segment to each subject that only the owner appends
// to. When it returns, nothing a former owner still has on its way can be stored any more. The caller holds the
// lease, and reads the streams only after this.
//
// The takeover segments in OUTCOME carry the newest checkpoint on, with clean taken off, so that the last segment
// of the subject always has one: whoever takes over next must not believe that this owner left nothing in flight.
func TakeOver(ctx context.Context, js jetstream.JetStream, partition int, o TakeOverOptions) (*Taken, error) {
	minutes := o.RetryMinutes
	if len(minutes) == 0 {
		var err error
		if minutes, err = RetryStreams(ctx, js); err != nil {
			return nil, err
		}
	}
	newest, err := newestCheckpoint(ctx, js, partition, leaderGet)
	if err != nil {
		return nil, err
	}
	subjects := FencedSubjects(partition, minutes)
	fences, errs := make([]*Fence, len(subjects)), make([]error, len(subjects))
	var wg sync.WaitGroup
	for i, subject := range subjects {
		if stream, _ := StreamOf(subject); stream == StreamOutcome {
			// One after the other: the second must see what stood on the first.
			fences[i], errs[i] = fenceOutcome(ctx, js, subject, o, &newest)
			continue
		}
		wg.Go(func() {
			fences[i], errs[i] = FenceOff(ctx, js, subject, FenceOptions{
				Owner: o.Owner, Confirm: o.Confirm, Around: around(subject, partition),
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("take over partition %d: %w", partition, err)
	}
	if err := tidyFence(ctx, js, ParkFence(partition)); err != nil {
		return nil, fmt.Errorf("take over partition %d: %w", partition, err)
	}
	taken := &Taken{Checkpoint: newest.checkpoint, Fences: make(map[string]*Fence, len(subjects))}
	for _, f := range fences {
		taken.Fences[f.subject] = f
	}
	return taken, nil
}

// fenceOutcome fences an OUTCOME subject. newest becomes the checkpoint found there when that is newer.
func fenceOutcome(
	ctx context.Context, js jetstream.JetStream, subject string, o TakeOverOptions, newest *foundCheckpoint,
) (*Fence, error) {
	header := func(last uint64, h nats.Header) (nats.Header, error) {
		if err := newest.see(last, h); err != nil {
			return nil, err
		}
		if newest.checkpoint == nil {
			return nil, nil
		}
		c := proto.CloneOf(newest.checkpoint)
		c.Clean, c.Owner, c.LeaseRevision = false, o.Owner, o.LeaseRevision
		carried := nats.Header{}
		return carried, SetCheckpoint(carried, c)
	}
	return FenceOff(ctx, js, subject, FenceOptions{Owner: o.Owner, Confirm: o.Confirm, Header: header})
}

// around returns the subjects a fence stands around when it is more than its own.
func around(subject string, partition int) string {
	if subject == ParkFence(partition) {
		return ParkSubjects(partition)
	}
	return ""
}

// tidyFence removes former takeover segments of a stream whose prefix is never purged.
func tidyFence(ctx context.Context, js jetstream.JetStream, subject string) error {
	name, _ := StreamOf(subject)
	s, err := js.Stream(ctx, name)
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeKeep(1))
	}
	if err != nil {
		return fmt.Errorf("remove former takeovers of %s: %w", subject, err)
	}
	return nil
}
