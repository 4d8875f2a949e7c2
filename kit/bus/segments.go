// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// run is the appender's goroutine: it takes what waits, sends it, and takes again.
func (a *Appender) run() {
	defer close(a.done)
	for {
		plain, keyed, ok := a.take()
		if !ok {
			return
		}
		if len(keyed) > 0 {
			a.sendKeyed(keyed)
		}
		if len(plain) > 0 {
			a.sendPlain(plain)
		}
	}
}

// take waits for records and returns those of the next segment, and the keyed groups that wait. It returns false
// when the appender is closed and nothing waits.
func (a *Appender) take() (plain, keyed []*group, ok bool) {
	for {
		a.mu.Lock()
		wait := a.lingerLeft()
		switch {
		case len(a.plain)+len(a.keyed) == 0 && a.closed:
			a.mu.Unlock()
			return nil, nil, false
		case len(a.plain)+len(a.keyed) == 0:
			a.mu.Unlock()
			<-a.wake
		case wait > 0:
			a.mu.Unlock()
			a.pause(wait)
		default:
			plain = a.cut()
			keyed, a.keyed = a.keyed, nil
			for _, g := range keyed {
				g.taken = true
			}
			a.mu.Unlock()
			return plain, keyed, true
		}
	}
}

// lingerLeft is how long the next segment may still be filled; a.mu is held.
func (a *Appender) lingerLeft() time.Duration {
	if a.opts.Linger <= 0 || a.closed || len(a.keyed) > 0 || len(a.plain) == 0 {
		return 0
	}
	records, size := 0, 0
	for _, g := range a.plain {
		records += len(g.frames)
		size += g.size
		if records >= MaxSegmentRecords || size >= MaxSegmentBytes {
			return 0
		}
	}
	return a.opts.Linger - time.Since(a.plain[0].since)
}

func (a *Appender) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.wake:
	}
}

// cut takes the groups of one segment off the queue: the first, and those behind it that go to the same subject; a.mu is
// held.
func (a *Appender) cut() []*group {
	if len(a.plain) == 0 {
		return nil
	}
	subject, records, size := a.plain[0].subject, 0, 0
	var taken, left []*group
	for i, g := range a.plain {
		if g.subject != subject {
			left = append(left, g)
			continue
		}
		records += len(g.frames)
		size += g.size
		if len(taken) > 0 && (records > MaxSegmentRecords || size > MaxSegmentBytes) {
			if len(left) == 0 {
				left = a.plain[i:]
			} else {
				left = append(left, a.plain[i:]...)
			}
			break
		}
		g.taken = true
		taken = append(taken, g)
	}
	a.plain = left
	return taken
}

func (a *Appender) sendPlain(groups []*group) {
	a.buf = a.buf[:0]
	records := 0
	for _, g := range groups {
		records += len(g.frames)
		for _, f := range g.frames {
			a.buf = f.appendTo(a.buf)
		}
	}
	header := segmentHeader(records)
	if a.opts.Header != nil {
		a.opts.Header(header)
	}
	subject := groups[0].subject
	if subject == "" {
		subject = a.nextSubject()
	}
	o := &outgoing{id: newSegmentID(), msg: &nats.Msg{Subject: subject, Header: header, Data: a.buf}}
	seq, _, err := a.publish(o)
	if err == nil {
		a.observe(o, seq, records)
	}
	a.answer(groups, a.position(o, seq), false, err)
	if cap(a.buf) > 2*MaxSegmentBytes {
		a.buf = nil // a single large group need not stay for ever
	}
}

func (a *Appender) nextSubject() string {
	subject := a.opts.Subjects[a.turn%len(a.opts.Subjects)]
	a.turn++
	return subject
}

func (a *Appender) position(o *outgoing, seq uint64) Position {
	stream, _ := StreamOf(o.msg.Subject)
	return Position{Stream: stream, Sequence: seq}
}

func (a *Appender) observe(o *outgoing, seq uint64, records int) {
	if a.opts.Observe != nil {
		stream, _ := StreamOf(o.msg.Subject)
		a.opts.Observe(Stored{
			Stream: stream, Sequence: seq, Records: records, Bytes: len(o.msg.Data), Took: time.Since(o.first),
		})
	}
}

// answer tells the callers of a segment's groups, in order. An owner that was fenced off appends nothing more.
func (a *Appender) answer(groups []*group, pos Position, duplicate bool, err error) {
	var fenced *FencedError
	if errors.As(err, &fenced) {
		a.mu.Lock()
		a.failed = err
		for _, g := range a.plain {
			g.taken = true
		}
		groups = slices.Concat(groups, a.plain)
		a.plain = nil
		a.mu.Unlock()
	}
	size := 0
	for _, g := range groups {
		size += g.size
		if err != nil {
			g.done(Position{}, false, err)
			continue
		}
		g.done(pos, duplicate, nil)
		pos.Index += len(g.frames)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.freed(size)
}
