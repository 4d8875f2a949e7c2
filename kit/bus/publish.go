// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	firstPause = 20 * time.Millisecond // between two tries, doubled up to lastPause
	lastPause  = time.Second

	// lookAfter is how long a publish may be repeated under its id without looking whether it is stored. The
	// server knows the id for DedupeWindow; the rest of that is for clocks and for requests on their way.
	lookAfter = 90 * time.Second
)

// publishOnce sends a message and waits for the stream's answer.
func publishOnce(ctx context.Context, js jetstream.JetStream, m *nats.Msg, timeout time.Duration) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
}

// outgoing is one segment on its way.
type outgoing struct {
	msg         *nats.Msg
	id          string
	first       time.Time // when the first try began
	maybeStored bool      // a try was sent and its answer lost
	after       uint64    // if it is stored, then behind this sequence
}

// publish appends one segment, repeating it under the same id until there is an answer or the time is over.
//
// What nats-server 2.15.2 does with a repeated publish whose first try was stored was tried out:
//   - without an expected sequence it answers as a duplicate, with the sequence of the first;
//   - with one, a stream on a stand-alone server compares the sequence before the id, so it refuses (10071) and
//     does not say that it has the message. A replicated stream looks at the id first and answers as above.
//     While the first try is still being replicated it says 10158 or 10164: nothing is known yet.
//
// So a refusal after a lost answer is looked into before anyone believes it.
func (a *Appender) publish(o *outgoing) (seq uint64, duplicate bool, err error) {
	o.first = time.Now()
	o.msg.Header.Set(jetstream.MsgIDHeader, o.id)
	defer a.setUnconfirmed(nil)
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		seq, duplicate, again, err := a.tryOnce(o)
		if err == nil {
			a.stored(seq)
			return seq, duplicate, nil
		}
		if !again {
			return 0, false, err
		}
		if a.opts.RetryFor >= 0 && time.Since(o.first)+wait > a.opts.RetryFor {
			return 0, false, a.unavailable(o, err)
		}
		select {
		case <-a.ctx.Done():
			return 0, false, a.unavailable(o, errors.Join(context.Cause(a.ctx), err))
		case <-time.After(wait):
		}
	}
}

// tryOnce is one try; again tells whether err may pass.
func (a *Appender) tryOnce(o *outgoing) (seq uint64, duplicate, again bool, err error) {
	if err := a.prepare(o); err != nil {
		return 0, false, true, err
	}
	if o.maybeStored && time.Since(o.first) > a.lookAfter {
		// The server may have forgotten the id: nothing is sent again before the subject has been looked at.
		if seq, found, err := find(a.ctx, a.js, o); err != nil || found {
			return seq, found, err != nil, err
		}
	}
	ack, err := publishOnce(a.ctx, a.js, o.msg, a.opts.PublishTimeout)
	if err == nil {
		return ack.Sequence, ack.Duplicate, false, nil
	}
	switch classify(err) {
	case notReached:
		return 0, false, true, err
	case refused:
		return a.onRefused(o, err)
	case full:
		if a.opts.RetryFor < 0 || o.maybeStored {
			return 0, false, true, err
		}
		return 0, false, false, &FullError{Subject: o.msg.Subject, Err: err}
	case tooLarge:
		return 0, false, false, &TooLargeError{Subject: o.msg.Subject, Size: o.msg.Size(), Most: MaxPayload, Err: err}
	case notAccepted:
		return 0, false, a.opts.RetryFor < 0, &RejectedError{Subject: o.msg.Subject, Err: err}
	default:
		o.maybeStored = true
		a.setUnconfirmed(o)
		return 0, false, true, err
	}
}

// prepare notes behind which sequence the segment will lie if this try is stored.
func (a *Appender) prepare(o *outgoing) error {
	if f := a.opts.Fence; f != nil {
		last := f.Last()
		if !o.maybeStored {
			o.after = last
		} else {
			o.after = min(o.after, last)
		}
		f.state(o.msg.Header, last)
		return nil
	}
	if a.opts.RetryFor >= 0 || o.maybeStored {
		return nil // never looked up, or already known
	}
	if a.low == nil {
		name, _ := StreamOf(o.msg.Subject)
		stream, err := a.js.Stream(a.ctx, name)
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", name, err)
		}
		a.low = new(stream.CachedInfo().State.LastSeq)
	}
	o.after = *a.low
	return nil
}

// onRefused handles a refusal of the fence. What the subject's last sequence is now is read before the lease is
// renewed: a process that is stopped in between and goes on after another took over then still states a sequence
// from before that.
func (a *Appender) onRefused(o *outgoing, refusal error) (seq uint64, duplicate, again bool, err error) {
	f := a.opts.Fence
	if f == nil {
		return 0, false, false, &RejectedError{Subject: o.msg.Subject, Err: refusal}
	}
	if o.maybeStored {
		seq, found, err := find(a.ctx, a.js, o)
		if err != nil || found {
			return seq, found, err != nil, err
		}
	}
	if a.opts.OnRefused == nil {
		return 0, false, false, &FencedError{Subject: f.subject, Err: refusal}
	}
	last, err := lastOfSubject(a.ctx, a.js, f.stream, f.filter)
	if err != nil {
		return 0, false, true, err
	}
	switch err := a.opts.OnRefused(a.ctx, refusal); {
	case errors.Is(err, ErrLeaseLost):
		return 0, false, false, &FencedError{Subject: f.subject, Err: errors.Join(refusal, err)}
	case err != nil:
		return 0, false, true, errors.Join(refusal, err) // nothing is known: asked again
	}
	f.moveTo(last)
	return 0, false, true, refusal
}

// find looks for a segment among what lies on its subject behind the sequence noted before its first try.
func find(ctx context.Context, js jetstream.JetStream, o *outgoing) (seq uint64, found bool, err error) {
	stream, _ := StreamOf(o.msg.Subject)
	for next := o.after + 1; ; {
		m, err := leaderGet(ctx, js, stream, getRequest{Seq: next, NextFor: o.msg.Subject})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, fmt.Errorf("look for an earlier try: %w", err)
		}
		if m.Header.Get(jetstream.MsgIDHeader) == o.id {
			return m.Sequence, true, nil
		}
		next = m.Sequence + 1
	}
}

// stored notes the sequence of a segment that is in the stream.
func (a *Appender) stored(seq uint64) {
	if f := a.opts.Fence; f != nil {
		f.moveTo(max(seq, f.Last()))
	} else if a.low != nil {
		a.low = new(max(seq, *a.low))
	}
}

func (a *Appender) unavailable(o *outgoing, err error) error {
	return &UnavailableError{Subject: o.msg.Subject, MaybeStored: o.maybeStored, Err: err}
}

func (a *Appender) setUnconfirmed(o *outgoing) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unconfirmed = o != nil
	if o != nil {
		a.unconfirmedAfter = o.after
	}
}

// Unconfirmed tells whether a segment is on its way whose answer was lost, and the sequence behind which it lies
// if it is stored. As long as that is so the owner keeps the stream's floor at or below after+1: otherwise its
// records could be read, settled and purged before the repetition finds them, and would be appended twice.
func (a *Appender) Unconfirmed() (after uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unconfirmedAfter, a.unconfirmed
}

// Publish stores one message that is no segment, such as a chunk of a content, under an id of its own. It is repeated
// like a segment, for 15 s, and its errors are those of Append.
func Publish(ctx context.Context, js jetstream.JetStream, m *nats.Msg, id string) (seq uint64, err error) {
	a := &Appender{
		js: js, ctx: ctx, lookAfter: lookAfter,
		opts: AppenderOptions{PublishTimeout: defaultPublishTimeout, RetryFor: defaultRetryFor},
	}
	if m.Header == nil {
		m.Header = nats.Header{}
	}
	seq, _, err = a.publish(&outgoing{id: id, msg: m})
	return seq, err
}
