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
)

// Delivery is one message of a stream.
type Delivery struct {
	Stream, Subject string
	Sequence        uint64
	Time            time.Time // when the server stored it, by the server's clock
	Header          nats.Header
	Data            []byte
	Segment         Segment
	// Err is a *CorruptError when the message is not a segment, or not wholly; the records of Segment can still
	// be read. The message is delivered all the same, so that it can be held.
	Err error
}

// Takeover returns the owner that appended this segment to fence the former one off, or "".
func (d *Delivery) Takeover() string { return d.Header.Get(HeaderTakeover) }

// ReaderOptions say what a Reader reads.
type ReaderOptions struct {
	Stream   string
	Subjects []string // may have wildcards; empty means all of the stream
	// From is the first sequence to read; Since the server's time of it, used when From is 0. Neither means from
	// the beginning. What was purged meanwhile is passed over.
	From  uint64
	Since time.Time
	// MaxBytes bounds what the server may have sent and Next has not yet returned (0: 8 MiB). A single larger
	// message is read all the same.
	MaxBytes int
	// HeadersOnly leaves the data out; segments are then not decoded.
	HeadersOnly bool
}

// AheadError reports a position that a stream has not reached: the stream is another one than when the position
// was noted.
type AheadError struct {
	Stream     string
	From, Last uint64
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("read stream %s from %d: its last sequence is %d", e.Stream, e.From, e.Last)
}

// Reader reads messages in order. It needs no acknowledgement, keeps its position itself, and begins again behind
// the last message returned whenever the server, its leader or the connection changed: no message that is in
// the stream is passed over, none is returned twice. It is for one goroutine.
type Reader struct {
	js   jetstream.JetStream
	opts ReaderOptions
	next uint64 // first sequence not yet returned

	sub      *nats.Subscription
	inbox    string
	consumer string    // "" when there is none
	received uint64    // last consumer sequence: the next must follow it
	pull     int       // number of the current pull request
	asked    int       // messages it may still bring, 0 when it is over
	single   bool      // the next request asks for one message of any size
	missing  time.Time // since when the stream cannot be found

	back chan nats.Status // tells each time the connection came back

	mu     sync.Mutex
	lost   bool               // the connection came back since the last pull
	wakeUp context.CancelFunc // of who waits for a message
}

const (
	readBytes     = 8 << 20
	readBatch     = 256
	readExpires   = 30 * time.Second
	readHeartbeat = time.Second
	readSilence   = 5 * readHeartbeat / 2 // a pull is lost when nothing came for so long
	readInactive  = time.Minute           // the server forgets a consumer nobody pulls from
	readMissing   = 30 * time.Second      // a stream not found for so long is gone
	endRecheck    = time.Second
)

// NewReader makes a reader. It fails when the stream cannot be found, or with an *AheadError. Close must be
// called.
func NewReader(ctx context.Context, js jetstream.JetStream, o ReaderOptions) (*Reader, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = readBytes
	}
	r := &Reader{js: js, opts: o, next: o.From, inbox: js.Conn().NewRespInbox()}
	s, err := js.Stream(ctx, o.Stream)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", o.Stream, err)
	}
	if last := s.CachedInfo().State.LastSeq; o.From > last+1 {
		return nil, &AheadError{Stream: o.Stream, From: o.From, Last: last}
	}
	if r.sub, err = js.Conn().SubscribeSync(r.inbox + ".*"); err != nil {
		return nil, fmt.Errorf("read stream %s: %w", o.Stream, err)
	}
	if err := r.sub.SetPendingLimits(-1, -1); err != nil { // what may come is bounded by the pull
		return nil, fmt.Errorf("read stream %s: %w", o.Stream, err)
	}
	if err := r.connect(ctx); err != nil {
		_ = r.sub.Unsubscribe()
		return nil, err
	}
	r.back = js.Conn().StatusChanged(nats.CONNECTED)
	go r.watch()
	return r, nil
}

// Position returns the sequence behind the last message returned.
func (r *Reader) Position() uint64 { return r.next }

// Next waits for the next message. It fails only when ctx ends, the connection is closed for good, or the stream
// has been gone for half a minute.
func (r *Reader) Next(ctx context.Context) (Delivery, error) {
	wait := firstPause
	for {
		m, err := r.receive(ctx)
		if err == nil {
			return r.delivery(m)
		}
		if ctx.Err() != nil {
			return Delivery{}, fmt.Errorf("read stream %s: %w", r.opts.Stream, ctx.Err())
		}
		if errors.Is(err, errAgain) {
			continue
		}
		r.consumer = ""
		if r.gone(err) {
			return Delivery{}, fmt.Errorf("read stream %s: %w", r.opts.Stream, err)
		}
		if errors.Is(err, errLost) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			wait = min(2*wait, lastPause)
		}
	}
}

// gone tells whether an error will not pass.
func (r *Reader) gone(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return true
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return false
	}
	if r.missing.IsZero() {
		r.missing = time.Now()
	}
	return time.Since(r.missing) > readMissing
}

func (r *Reader) delivery(m *received) (Delivery, error) {
	d := Delivery{
		Stream: r.opts.Stream, Subject: m.msg.Subject, Sequence: m.meta.Sequence.Stream, Time: m.meta.Timestamp,
		Header: m.msg.Header, Data: m.msg.Data,
	}
	if !r.opts.HeadersOnly {
		d.Segment, d.Err = DecodeSegment(d.Header, d.Data)
	}
	return d, nil
}

// ReadToEnd reads all that is in the stream when it is called, and calls fn for each message in order. Next then
// goes on behind it. An error of fn ends it and is returned as it is.
func (r *Reader) ReadToEnd(ctx context.Context, fn func(Delivery) error) error {
	end, err := r.last(ctx)
	if err != nil {
		return err
	}
	for r.next <= end {
		d, err := r.nextWithin(ctx, endRecheck)
		switch {
		case err == nil:
			if err := fn(d); err != nil {
				return err
			}
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			// Slow, or purged meanwhile.
			if end, err = r.last(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

func (r *Reader) nextWithin(ctx context.Context, d time.Duration) (Delivery, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return r.Next(ctx)
}

// last returns the last sequence of what the reader reads, 0 when there is nothing.
func (r *Reader) last(ctx context.Context) (uint64, error) {
	subjects := r.opts.Subjects
	if len(subjects) == 0 {
		subjects = []string{">"}
	}
	var end uint64
	for _, subject := range subjects {
		last, err := lastOfSubject(ctx, r.js, r.opts.Stream, subject)
		if err != nil {
			return 0, err
		}
		end = max(end, last)
	}
	return end, nil
}

// Close ends the reader.
func (r *Reader) Close() error {
	r.js.Conn().RemoveStatusListener(r.back)
	err := r.sub.Unsubscribe()
	if r.consumer != "" {
		// The server also forgets it by itself, so nothing depends on this.
		ctx, cancel := context.WithTimeout(context.Background(), readHeartbeat)
		defer cancel()
		_ = r.js.DeleteConsumer(ctx, r.opts.Stream, r.consumer)
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
		return fmt.Errorf("close reader: %w", err)
	}
	return nil
}

// ReadSegment reads one message by its sequence. The error wraps jetstream.ErrMsgNotFound when it is not there.
func ReadSegment(ctx context.Context, js jetstream.JetStream, stream string, seq uint64) (Delivery, error) {
	m, err := directGet(ctx, js, stream, getRequest{Seq: seq})
	if err != nil {
		return Delivery{}, fmt.Errorf("message %d of stream %s: %w", seq, stream, err)
	}
	return m.delivery(stream), nil
}

func (m *storedMsg) delivery(stream string) Delivery {
	d := Delivery{
		Stream: stream, Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Header: m.Header, Data: m.Data,
	}
	d.Segment, d.Err = DecodeSegment(d.Header, d.Data)
	return d
}
