// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"errors"
	"time"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/park"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// Kind is what becomes of a record.
type Kind uint8

// Kinds of disposition.
const (
	// Skip: it is settled.
	Skip Kind = iota
	// Attempt: it is attempted as soon as its lane lets it.
	Attempt
	// Wait: it is attempted at Until, and waits in memory.
	Wait
	// Chain: it waits on in a further RETRY stream, as Chained says.
	Chain
	// MoveOn: its recipients are carried on from Outcome, which is stored, without a further attempt.
	MoveOn
	// Hold: it cannot be read, as Fault says, and is set aside.
	Hold
	// Aside: operators' changes keep it from being attempted, as Decision says.
	Aside
	// Ours: it is the copy of a record that this owner still has in work.
	Ours
)

// Disposition is what becomes of one record.
type Disposition struct {
	Kind  Kind
	Place ledger.Place
	// Mail is the record; nil when it cannot be decoded.
	Mail *eventv1.QueuedMail
	// Content is what stands behind it in its segment; of a record that cannot be decoded all that is left of it.
	Content []byte

	Until   time.Time
	Chained due.Wait
	Outcome *eventv1.Outcome
	Fault   error
	// Decision of operators' changes.
	Decision park.Decision
}

// Rules are the operators' changes.
type Rules interface {
	// Copied reports whether a scan copied the record at p on. Then it is settled.
	Copied(m *eventv1.QueuedMail, p ledger.Place) bool
	// Decide says whether the record may be attempted. now is the server's clock.
	Decide(m *eventv1.QueuedMail, now time.Time) park.Decision
}

func (d *Desk) judge(del bus.Delivery, index int, at Moment) Disposition {
	p := ledger.Place{Stream: del.Stream, Sequence: del.Sequence, Index: index}
	if settled, ours := d.carried[p]; ours {
		delete(d.carried, p)
		if settled {
			return Disposition{Kind: Skip, Place: p}
		}
		return Disposition{Kind: Ours, Place: p}
	}
	state := d.ledger.State(p)
	if state == ledger.Settled {
		return Disposition{Kind: Skip, Place: p}
	}
	frame, err := del.Segment.Frame(index)
	if err != nil {
		d.marking.Mark(p.Stream, p.Sequence)
		return Disposition{Kind: Hold, Place: p, Fault: err}
	}
	mail, err := frame.Mail()
	if err == nil {
		err = check(mail)
	}
	if err == nil && d.rules != nil && d.rules.Copied(mail, p) {
		return Disposition{Kind: Skip, Place: p} // nobody read it here, so no mark is owed to it
	}
	mark := d.marking.Mark(p.Stream, p.Sequence)
	if err != nil {
		_, raw := bus.EncodeSegment([]bus.Frame{frame})
		return Disposition{Kind: Hold, Place: p, Content: raw, Fault: err}
	}
	j := Disposition{Kind: Attempt, Place: p, Mail: mail, Content: frame.Content}
	if state == ledger.Deferred {
		// What the attempt came to is known: there is nothing to doubt.
		j.Kind, j.Outcome = MoveOn, d.ledger.Deferral(p)
		if mail.GetMovedFor() == settle.ForCarry {
			// Marked in case of a crash before that outcome, which says itself whether there is a doubt.
			mail.PossibleDuplicate = false
		}
		return j
	}
	mail.PossibleDuplicate = mail.GetPossibleDuplicate() || mark
	rest := waitLeft(mail, p.Stream, at)
	if chained, ok := due.Rest(d.minutes, rest); ok {
		j.Kind, j.Chained = Chain, chained
	} else if rest > 0 {
		j.Kind, j.Until = Wait, at.Local.Add(rest)
	}
	if d.rules == nil {
		return j
	}
	// What waits on is set aside when its wait is over.
	if decided := d.rules.Decide(mail, at.Server); decided.Kind == park.Cancel || decided.Kind != park.Go && j.Kind != Chain {
		j.Kind, j.Decision = Aside, decided
	}
	return j
}

// check finds what no sender could do anything with.
func check(m *eventv1.QueuedMail) error {
	switch {
	case m.GetMessageId() == "":
		return errors.New("record without message id")
	case m.GetDestination() == "":
		return errors.New("record without destination")
	case len(m.GetEnvelope().GetRecipients()) == 0:
		return errors.New("record without recipients")
	}
	return nil
}

// waitLeft returns how long a record has to wait on, now that its segment has come due.
func waitLeft(m *eventv1.QueuedMail, stream string, at Moment) time.Duration {
	var rest time.Duration
	if minutes, ok := bus.RetryStreamMinutes(stream); ok && m.GetPause() != nil {
		rest = at.Due.Add(m.GetPause().AsDuration() - time.Duration(minutes)*time.Minute).Sub(at.Local)
	}
	if m.GetNotBefore() != nil {
		rest = max(rest, m.GetNotBefore().AsTime().Sub(at.Server))
	}
	return rest
}

// unreadable judges what stands in a segment behind the point up to which it can be read: one place for all of it.
func (d *Desk) unreadable(del bus.Delivery) Disposition {
	index := del.Segment.Len()
	if corrupt, ok := errors.AsType[*bus.CorruptError](del.Err); ok {
		index = max(index, corrupt.Index)
	}
	p := ledger.Place{Stream: del.Stream, Sequence: del.Sequence, Index: index}
	if d.ledger.State(p) == ledger.Settled {
		return Disposition{Kind: Skip, Place: p}
	}
	d.marking.Mark(p.Stream, p.Sequence)
	return Disposition{Kind: Hold, Place: p, Content: del.Data, Fault: del.Err}
}
