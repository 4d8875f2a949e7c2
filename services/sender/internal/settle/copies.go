// SPDX-License-Identifier: Apache-2.0

package settle

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/ledger"
)

// Reasons a record is copied for, as they stand in QueuedMail.moved_for.
const (
	ForRetry = "retry" // its outcome leaves recipients
	ForWait  = "wait"  // it waits longer than one stream lets it
	ForSpill = "spill" // its lane is too full
	ForHold  = "hold"  // the sender set it aside
	ForPark  = "park"  // an operator's hold or suspension set it aside
	ForScan  = "scan"  // an operator's change, or the sweep of PARK, took it out of its wait
	ForCarry = "carry" // its attempt goes on for long
)

// kept is how many of the first and of the last attempts a record remembers.
const kept = 5

// Retry returns the record that carries on the recipients an outcome has deferred: only those, with their counters
// after the attempt, and with the attempt in its history. An outcome that is not one of an attempt counts none.
func Retry(mail *eventv1.QueuedMail, at ledger.Place, o *eventv1.Outcome, w due.Wait) *eventv1.QueuedMail {
	next := Copy(mail, at, ForRetry, w)
	if o.GetAttempt() != nil {
		next.Attempt++
		next.History = remember(next.GetHistory(), o.GetAttempt())
	}
	next.Envelope.Recipients = nil
	for _, r := range o.GetResults() {
		if r.GetState() != eventv1.RecipientState_RECIPIENT_STATE_DEFERRED {
			continue
		}
		next.Envelope.Recipients = append(next.Envelope.Recipients, r.GetRecipient())
		next.PossibleDuplicate = next.PossibleDuplicate || r.GetPossibleDuplicate()
	}
	return next
}

// Carried returns the copy of a record whose attempt goes on. It is attempted only after its owner was cut off, when the
// message may have been delivered: so it is marked.
func Carried(mail *eventv1.QueuedMail, at ledger.Place, w due.Wait) *eventv1.QueuedMail {
	next := Copy(mail, at, ForCarry, w)
	next.PossibleDuplicate = true
	return next
}

// Copy returns the record as it is appended to another stream, one hop further. No attempt is counted.
func Copy(mail *eventv1.QueuedMail, at ledger.Place, why string, w due.Wait) *eventv1.QueuedMail {
	next := proto.CloneOf(mail)
	next.Hop++
	next.Source = at.Source()
	next.MovedFor = why
	next.Pause = nil
	next.Settles = nil
	if w.Pause != time.Duration(w.Minutes)*time.Minute {
		next.Pause = durationpb.New(w.Pause)
	}
	return next
}

// FromPark returns the record as it is copied out of PARK into RETRY_0. Its segment is deleted then, so the copy also
// speaks for the place that segment spoke for.
func FromPark(mail *eventv1.QueuedMail, at ledger.Place, why string) *eventv1.QueuedMail {
	next := Copy(mail, at, why, due.Wait{})
	if mail.GetSource() != nil {
		next.Settles = []*eventv1.Source{mail.GetSource()}
	}
	return next
}

// Only returns the record with those of its recipients that an outcome left in a state.
func Only(mail *eventv1.QueuedMail, o *eventv1.Outcome, state eventv1.RecipientState) *eventv1.QueuedMail {
	left := proto.CloneOf(mail)
	left.Envelope.Recipients = nil
	for _, r := range o.GetResults() {
		if r.GetState() == state {
			left.Envelope.Recipients = append(left.Envelope.Recipients, r.GetRecipient())
			left.PossibleDuplicate = left.GetPossibleDuplicate() || r.GetPossibleDuplicate()
		}
	}
	return left
}

// remember adds an attempt to a history that keeps the first and the last few.
func remember(h *eventv1.History, a *eventv1.Attempt) *eventv1.History {
	next := &eventv1.History{First: h.GetFirst(), Last: h.GetLast(), Attempts: h.GetAttempts() + 1}
	if len(next.First) < kept && len(next.Last) == 0 {
		next.First = append(next.First[:len(next.First):len(next.First)], a)
		return next
	}
	next.Last = append(next.Last[:len(next.Last):len(next.Last)], a)
	next.Last = next.Last[max(0, len(next.Last)-kept):]
	return next
}
