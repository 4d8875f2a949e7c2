// SPDX-License-Identifier: Apache-2.0

package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// perPass is how many notifications of a window are held at once, about.
const perPass = 50_000

// DefaultIdle is how often is looked for windows that have ended.
const DefaultIdle = 15 * time.Second

// Sender hands a list in. It returns when the list is durably in the queue, or can never be made or taken and that is
// recorded; its only error is that of ctx.
type Sender interface {
	Tell(ctx context.Context, l List) error
}

// TellerOptions say how a Teller works. All but Idle are required.
type TellerOptions struct {
	JetStream jetstream.JetStream
	Cursors   *bus.Cursors
	Log       *Log
	Sender    Sender
	// Closing is told that the lists of a window are about to be made: what is decided from then on must not be joined
	// into it, or one before it.
	Closing func(due time.Time)
	// Passed returns the sequence of OUTCOME up to which everything is settled, durably, in all partitions.
	Passed func() uint64
	// PerDomain is how many lists of one window go to one domain. The others wait for the next one.
	PerDomain int
	// Window is how long a window is.
	Window time.Duration
	// Idle is how often to look. 0 is DefaultIdle.
	Idle time.Duration
	Slog *slog.Logger
}

// Teller makes the lists of windows that have ended. It is for one goroutine.
type Teller struct {
	opts TellerOptions
	told bus.Cursor
	// barrier is, of a window that has ended, the end of OUTCOME after its end.
	barrier map[int64]uint64
}

// NewTeller returns a Teller that goes on behind what was told.
func NewTeller(o TellerOptions, told bus.Cursor) *Teller {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	return &Teller{opts: o, told: told, barrier: map[int64]uint64{}}
}

// Run tells until ctx ends. Its errors are that of ctx and bus.ErrCursorMoved: somebody else does the work.
func (t *Teller) Run(ctx context.Context) error {
	for {
		if err := t.round(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, bus.ErrCursorMoved) {
				return err
			}
			t.opts.Slog.LogAttrs(ctx, slog.LevelWarn, "joined notifications cannot be told yet, trying again", slog.Any("error", err))
		}
		if err := sleep(ctx, t.opts.Idle); err != nil {
			return err
		}
	}
}

// round tells of the windows that have ended, as far as everything of them is settled.
func (t *Teller) round(ctx context.Context) error {
	windows, now, err := bus.JoinedWindows(ctx, t.opts.JetStream)
	if err != nil {
		return err
	}
	for _, due := range windows {
		if due.Unix() <= int64(t.told.Sequence) { // told before a crash, or stored again by a process that was stopped meanwhile
			if err := bus.PurgeJoined(ctx, t.opts.JetStream, due); err != nil {
				return err
			}
			continue
		}
		if due.After(now) {
			return nil
		}
		settled, err := t.settled(ctx, due)
		if err != nil || !settled {
			return err
		}
		if err := t.tell(ctx, due); err != nil {
			return err
		}
	}
	return nil
}

// settled reports that everything stored before a window's end is settled, so that nothing is added to it any more.
func (t *Teller) settled(ctx context.Context, due time.Time) (bool, error) {
	barrier, known := t.barrier[due.Unix()]
	if !known {
		t.opts.Closing(due)
		last, err := bus.LastSequences(ctx, t.opts.JetStream, bus.StreamOutcome)
		if err != nil {
			return false, err
		}
		if !last.Time.After(due) { // another server leads, and its clock is behind
			return false, nil
		}
		barrier = last.Sequence
		t.barrier[due.Unix()] = barrier
	}
	return t.opts.Passed() >= barrier, nil
}

// tell makes the lists of a window, and then notes that it is told.
func (t *Teller) tell(ctx context.Context, due time.Time) error {
	t.opts.Log.done(due)
	count := 0
	subject := bus.JoinedSubject(due)
	if err := read(ctx, t.opts.JetStream, subject, t.opts.Slog, func(*eventv1.JoinedNotice) error { count++; return nil }); err != nil {
		return err
	}
	lists := map[string]int{} // by domain
	passes := min(1+count/perPass, shards)
	for pass := range passes {
		first, behind := uint32(pass*shards/passes), uint32((pass+1)*shards/passes)
		people, err := t.people(ctx, subject, first, behind)
		if err != nil {
			return err
		}
		for _, p := range slices.SortedFunc(maps.Keys(people), person.compare) {
			if err := t.tellPerson(ctx, p, due, people[p], lists); err != nil {
				return err
			}
		}
	}
	crashpoint.At("dsn.told.before")
	told, err := t.opts.Cursors.Advance(ctx, t.told, uint64(due.Unix()))
	if err != nil {
		return err
	}
	crashpoint.At("dsn.told.after")
	t.told = told
	delete(t.barrier, due.Unix())
	return bus.PurgeJoined(ctx, t.opts.JetStream, due)
}

// people reads what is told, by who is told, of the shards from first until before behind.
func (t *Teller) people(ctx context.Context, subject string, first, behind uint32) (map[person][]Entry, error) {
	people := map[person][]Entry{}
	err := read(ctx, t.opts.JetStream, subject, t.opts.Slog, func(n *eventv1.JoinedNotice) error {
		if p := personOf(n); p.shard >= first && p.shard < behind {
			people[p] = append(people[p], entriesOf(n)...)
		}
		return nil
	})
	return people, err
}

// tellPerson hands in the lists of one person, or, when its domain has got enough of them, keeps them for the next window.
func (t *Teller) tellPerson(ctx context.Context, p person, due time.Time, entries []Entry, lists map[string]int) error {
	all := listsOf(p, due, entries)
	if lists[p.domain()] > 0 && lists[p.domain()]+len(all) > t.opts.PerDomain {
		return t.keep(ctx, due.Add(t.opts.Window), all)
	}
	lists[p.domain()] += len(all)
	for _, l := range all {
		if err := t.opts.Sender.Tell(ctx, l); err != nil {
			return fmt.Errorf("list of joined notifications: %w", err)
		}
	}
	return nil
}

// keep stores what lists would tell for a later window. It stands there once, also when it is stored again after a crash.
func (t *Teller) keep(ctx context.Context, due time.Time, all []List) error {
	for _, l := range all {
		for entries := range slices.Chunk(l.Entries, bus.MaxSegmentRecords) {
			notices := make([]*eventv1.JoinedNotice, 0, len(entries))
			for _, e := range entries {
				n := proto.CloneOf(e.Notice)
				n.Recipients = []*eventv1.JoinedRecipient{e.Recipient}
				notices = append(notices, n)
			}
			if err := t.opts.Log.append(ctx, due, notices...); err != nil {
				return err
			}
		}
	}
	return nil
}
