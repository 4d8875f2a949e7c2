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
)

// Defaults of AppenderOptions.
const (
	defaultPublishTimeout = 2 * time.Second
	defaultRetryFor       = 15 * time.Second
	defaultMaxWaiting     = 64 << 20
)

// Forever as AppenderOptions.RetryFor repeats a publish until it is stored or the appender is closed.
const Forever time.Duration = -1

// Position is where a record lies.
type Position struct {
	Stream   string
	Sequence uint64 // stream sequence of the segment
	Index    int    // of the record in the segment; for a group, of its first
}

// AppenderOptions say how an Appender works. Only Subjects is required.
type AppenderOptions struct {
	// Subjects get the segments in turn, so that a segment is one flush however many partitions there are.
	// With a Fence it may be empty or is the fenced subject alone.
	Subjects []string
	// Fence keeps out former owners. Nil means that anyone may append.
	Fence *Fence
	// OnRefused is called when the fence was refused: somebody else has appended, or a purge has emptied the
	// subject. It renews the lease (Lease.Renew). With nil the appender goes on behind what the subject's last
	// sequence was before the call; with an error that wraps ErrLeaseLost everything waiting ends in a FencedError;
	// after any other error it is refused, and called, again.
	// Without OnRefused every refusal is final. It is called from the appender's goroutine.
	OnRefused func(ctx context.Context, refusal error) error
	// Linger is how long a segment waits to be filled. 0 sends at once: what arrives during a publish fills the
	// next segment, and a lone record is never delayed.
	Linger time.Duration
	// Header is called once for each segment of plain records just before its first publish, to add a
	// checkpoint. It is called from the appender's goroutine.
	Header func(h nats.Header)
	// PublishTimeout bounds one try (0: 2 s). RetryFor bounds all tries of a segment (0: 15 s, at most 90 s,
	// or Forever).
	PublishTimeout, RetryFor time.Duration
	// MaxWaitingBytes bounds what waits or is on its way (0: 64 MiB).
	MaxWaitingBytes int64
	// Observe, when set, is told of each segment that was stored, one call at a time.
	Observe func(Stored)
}

// Stored is a segment that an Appender has stored.
type Stored struct {
	Stream   string
	Sequence uint64
	Records  int
	Bytes    int           // of data
	Took     time.Duration // from the first try to the answer
}

// Appender appends records in segments to streams. One publish is in flight at a time; what arrives meanwhile
// fills the next segment: group commit. It is safe for use by many goroutines.
type Appender struct {
	js        jetstream.JetStream
	opts      AppenderOptions
	lookAfter time.Duration // shorter in tests only

	ctx    context.Context // ends when Close gives up
	cancel context.CancelCauseFunc
	wake   chan struct{} // something to look at
	done   chan struct{} // the goroutine has ended

	mu               sync.Mutex
	plain, keyed     []*group
	waiting          int64         // bytes taken in and not answered
	room             chan struct{} // closed and replaced when waiting falls
	closed           bool
	failed           error // what fails everything from then on
	unconfirmed      bool
	unconfirmedAfter uint64

	// Of the goroutine alone.
	turn int     // next of Subjects
	buf  []byte  // data of the segment on its way
	low  *uint64 // see prepare; of a single subject without a fence
}

// group is records that are appended together.
type group struct {
	frames  []Frame
	size    int
	subject string // where it goes; empty: to the next of Subjects
	msgID   string // of a keyed group
	since   time.Time
	taken   bool
	done    func(Position, bool, error)
}

// NewAppender starts an appender. Close must be called.
func NewAppender(js jetstream.JetStream, o AppenderOptions) *Appender {
	if o.Fence != nil {
		o.Subjects = []string{o.Fence.subject}
	}
	if len(o.Subjects) == 0 {
		panic("bus: an appender needs a subject")
	}
	if o.PublishTimeout <= 0 {
		o.PublishTimeout = defaultPublishTimeout
	}
	switch {
	case o.RetryFor == 0:
		o.RetryFor = defaultRetryFor
	case o.RetryFor > lookAfter:
		o.RetryFor = lookAfter
	}
	if o.MaxWaitingBytes <= 0 {
		o.MaxWaitingBytes = defaultMaxWaiting
	}
	a := &Appender{
		js: js, opts: o, lookAfter: lookAfter,
		wake: make(chan struct{}, 1), done: make(chan struct{}), room: make(chan struct{}),
	}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	go a.run()
	return a
}

// Append appends a group of records, whole in one segment, and waits until it is stored. The position is that of
// the first record; the others follow it. Without frames it appends an empty segment, for the checkpoint in its
// header, unless other records wait that can carry it. The error is a *TooLargeError, *FullError, *UnavailableError,
// *FencedError, *RejectedError or ErrClosed; when ctx ends it is an *UnavailableError that wraps its error. The
// frames must not change before Append returns; after a *UnavailableError with MaybeStored not even then.
func (a *Appender) Append(ctx context.Context, frames []Frame) (Position, error) {
	pos, _, err := a.append(ctx, &group{frames: frames})
	return pos, err
}

// AppendKeyed appends a group as a segment of its own under the Nats-Msg-Id of a keyed submission (KeyedMsgID).
// duplicate tells that the server knew the id: pos is then the segment that was stored under it first, which
// may be this very call's when an answer was lost. The server knows an id for DedupeWindow.
func (a *Appender) AppendKeyed(ctx context.Context, msgID string, frames []Frame) (pos Position, duplicate bool, err error) {
	if msgID == "" || len(frames) == 0 || a.opts.Fence != nil || a.opts.RetryFor < 0 {
		return Position{}, false, errors.New("a keyed submission needs records, an id, and an appender without fence and with a limit to RetryFor")
	}
	return a.append(ctx, &group{frames: frames, msgID: msgID})
}

// Enqueue hands a group over and does not wait. done is called once, from the appender's goroutine and in the
// order of the calls to Enqueue; it must not block. When Enqueue itself returns an error (*TooLargeError,
// ErrNoRoom, ErrClosed, *FencedError) done is not called. The frames must not change before done is called.
func (a *Appender) Enqueue(frames []Frame, done func(Position, error)) error {
	return a.EnqueueTo("", frames, done)
}

// EnqueueTo is Enqueue to a subject of its own, one of those the fence stands around. Groups of different subjects are
// not stored in the order of the calls.
func (a *Appender) EnqueueTo(subject string, frames []Frame, done func(Position, error)) error {
	g := &group{subject: subject, frames: frames, done: func(p Position, _ bool, err error) { done(p, err) }}
	if err := a.check(g); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ok, err := a.offer(g); err != nil {
		return err
	} else if !ok {
		return ErrNoRoom
	}
	return nil
}

// Close takes nothing more, appends what waits, and ends the appender. When ctx ends first it gives up: what was
// not stored ends in an *UnavailableError.
func (a *Appender) Close(ctx context.Context) error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.nudge()
	defer a.cancel(ErrClosed)
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		a.cancel(ErrClosed)
		<-a.done
		return fmt.Errorf("close appender: %w", ctx.Err())
	}
}

func (a *Appender) append(ctx context.Context, g *group) (Position, bool, error) {
	type answer struct {
		pos       Position
		duplicate bool
		err       error
	}
	if err := a.check(g); err != nil {
		return Position{}, false, err
	}
	answers := make(chan answer, 1)
	g.done = func(p Position, duplicate bool, err error) { answers <- answer{p, duplicate, err} }
	if err := a.waitForRoom(ctx, g); err != nil {
		return Position{}, false, err
	}
	select {
	case r := <-answers:
		return r.pos, r.duplicate, r.err
	case <-ctx.Done():
		return Position{}, false, &UnavailableError{
			Subject: a.opts.Subjects[0], MaybeStored: !a.withdraw(g), Err: ctx.Err(),
		}
	}
}

func (a *Appender) check(g *group) error {
	for _, f := range g.frames {
		g.size += f.Size()
	}
	if g.size > MaxGroupBytes {
		return &TooLargeError{Subject: a.opts.Subjects[0], Size: g.size, Most: MaxGroupBytes}
	}
	return nil
}

// waitForRoom puts the group into the queue once it fits.
func (a *Appender) waitForRoom(ctx context.Context, g *group) error {
	for {
		a.mu.Lock()
		ok, err := a.offer(g)
		room := a.room
		a.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return &UnavailableError{Subject: a.opts.Subjects[0], Err: ctx.Err()}
		}
	}
}

// offer takes the group if there is room; a.mu is held.
func (a *Appender) offer(g *group) (bool, error) {
	switch {
	case a.failed != nil:
		return false, a.failed
	case a.closed:
		return false, ErrClosed
	case a.waiting > 0 && a.waiting+int64(g.size) > a.opts.MaxWaitingBytes:
		return false, nil
	}
	g.since = time.Now()
	a.waiting += int64(g.size)
	if g.msgID == "" {
		a.plain = append(a.plain, g)
	} else {
		a.keyed = append(a.keyed, g)
	}
	a.nudge()
	return true, nil
}

// withdraw takes a group back whose caller does not wait any longer; false means that it is on its way.
func (a *Appender) withdraw(g *group) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.taken {
		return false
	}
	a.plain, a.keyed = without(a.plain, g), without(a.keyed, g)
	a.freed(g.size)
	return true
}

func without(groups []*group, g *group) []*group {
	kept := make([]*group, 0, len(groups))
	for _, other := range groups {
		if other != g {
			kept = append(kept, other)
		}
	}
	return kept
}

// freed gives room back; a.mu is held.
func (a *Appender) freed(size int) {
	a.waiting -= int64(size)
	close(a.room)
	a.room = make(chan struct{})
}

func (a *Appender) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func newSegmentID() string { return ulid.Make().String() }
