// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// keptAttempts is how many of the first and how many of the last attempts are kept.
const keptAttempts = 5

// part is what is known of one record of a message: the recipients of one destination and their attempts. Records,
// retries and outcomes of it may come in any order, since they lie in different streams; folding them gives the same.
type part struct {
	messageID   string
	number      uint32
	destination string
	results     []result
	history     *eventv1.History
	hop         uint32    // of the newest record folded
	next        time.Time // earliest next attempt; zero when not known
	doneAt      time.Time // when the last recipient became final; zero before
}

// result is where one recipient stands after an attempt; attempt 0 is before the first.
type result struct {
	attempt uint32
	*eventv1.RecipientResult
}

// final reports a state that no later attempt changes.
func final(s eventv1.RecipientState) bool {
	switch s {
	case eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, eventv1.RecipientState_RECIPIENT_STATE_RELAYED,
		eventv1.RecipientState_RECIPIENT_STATE_BOUNCED, eventv1.RecipientState_RECIPIENT_STATE_EXPIRED,
		eventv1.RecipientState_RECIPIENT_STATE_CANCELLED:
		return true
	}
	return false
}

// find returns the recipient at a position of the submission, nil when it is not known yet.
func (p *part) find(index uint32) *result {
	for i := range p.results {
		if p.results[i].GetRecipient().GetIndex() == index {
			return &p.results[i]
		}
	}
	return nil
}

// set puts a recipient's result in unless a later one is known. A final result is only replaced by that of a later
// attempt.
func (p *part) set(attempt uint32, r *eventv1.RecipientResult) {
	known := p.find(r.GetRecipient().GetIndex())
	switch {
	case known == nil:
		p.results = append(p.results, result{attempt, r})
	case attempt > known.attempt, attempt == known.attempt && !final(known.GetState()):
		*known = result{attempt, r}
	}
}

// accepted folds a record of MAIL.
func (p *part) accepted(record *eventv1.QueuedMail) {
	p.destination = record.GetDestination()
	state := eventv1.RecipientState_RECIPIENT_STATE_QUEUED
	if record.GetMovedFor() == "hold" {
		state = eventv1.RecipientState_RECIPIENT_STATE_HELD
	}
	for _, r := range record.GetEnvelope().GetRecipients() {
		if p.find(r.GetIndex()) == nil {
			p.results = append(p.results, result{0, &eventv1.RecipientResult{
				Recipient: r, State: state, PossibleDuplicate: record.GetPossibleDuplicate(),
			}})
			p.doneAt = time.Time{}
		}
	}
	if at := record.GetNotBefore(); at != nil && p.hop == 0 && p.next.IsZero() {
		p.next = at.AsTime()
	}
}

// moved folds a copy of the record in a RETRY stream or in PARK. due is when it comes out of the wait, zero in PARK.
func (p *part) moved(record *eventv1.QueuedMail, due time.Time) {
	p.destination = record.GetDestination()
	p.adoptHistory(record.GetHistory())
	for _, r := range record.GetEnvelope().GetRecipients() {
		state := eventv1.RecipientState_RECIPIENT_STATE_QUEUED
		switch {
		case record.GetMovedFor() == "hold", record.GetMovedFor() == "park":
			if record.GetHop() < p.hop {
				continue // it has left PARK meanwhile
			}
			state = eventv1.RecipientState_RECIPIENT_STATE_HELD
		case record.GetAttempt() > 0:
			state = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED
		}
		known := p.find(r.GetIndex())
		if known != nil && (final(known.GetState()) || known.attempt > record.GetAttempt()) {
			continue
		}
		if known != nil && known.attempt == record.GetAttempt() && state != eventv1.RecipientState_RECIPIENT_STATE_HELD {
			known.PossibleDuplicate = known.GetPossibleDuplicate() || record.GetPossibleDuplicate()
			if known.GetState() == eventv1.RecipientState_RECIPIENT_STATE_HELD && record.GetHop() >= p.hop {
				known.State = state // released
			}
			continue
		}
		p.set(record.GetAttempt(), &eventv1.RecipientResult{
			Recipient: r, State: state, Failure: r.GetLastFailure(), Status: r.GetLastFailure().GetStatus(),
			Reply: r.GetLastFailure().GetReply(), PossibleDuplicate: record.GetPossibleDuplicate(),
		})
	}
	if record.GetHop() >= p.hop {
		p.hop, p.next = record.GetHop(), later(due, record)
	}
}

// later is when a waiting record is attempted at the earliest.
func later(due time.Time, record *eventv1.QueuedMail) time.Time {
	if at := record.GetNotBefore(); at != nil && at.AsTime().After(due) {
		return at.AsTime()
	}
	return due
}

// settled folds an outcome.
func (p *part) settled(o *eventv1.Outcome) {
	p.destination = o.GetDestination()
	number := o.GetAttempt().GetNumber()
	for _, r := range o.GetResults() {
		attempt := number
		if o.GetAttempt() == nil { // an operator's or a sweep's: it stands at what there was
			if known := p.find(r.GetRecipient().GetIndex()); known != nil {
				attempt = known.attempt
				if known.GetState() == eventv1.RecipientState_RECIPIENT_STATE_HELD && !final(r.GetState()) && o.GetHop() < p.hop {
					continue // it was told of a delay, and lies in PARK since
				}
			}
		}
		p.set(attempt, r)
	}
	p.addAttempt(o.GetAttempt())
	if pause := o.GetPause(); pause != nil && o.GetHop() >= p.hop {
		p.next = o.GetDecidedAt().AsTime().Add(pause.AsDuration())
	}
	p.finish(o.GetDecidedAt().AsTime())
}

// finish notes when the last recipient became final.
func (p *part) finish(at time.Time) {
	for _, r := range p.results {
		if !final(r.GetState()) {
			return
		}
	}
	p.next = time.Time{}
	if p.doneAt.Before(at) {
		p.doneAt = at
	}
}

// addAttempt keeps the first and the last five attempts.
func (p *part) addAttempt(a *eventv1.Attempt) {
	if a == nil || p.knows(a.GetNumber()) {
		return
	}
	if p.history == nil {
		p.history = new(eventv1.History)
	}
	h := p.history
	h.Attempts = max(h.GetAttempts(), a.GetNumber())
	if a.GetNumber() <= keptAttempts {
		h.First = inserted(h.GetFirst(), a)
		return
	}
	h.Last = inserted(h.GetLast(), a)
	h.Last = h.Last[max(0, len(h.Last)-keptAttempts):]
}

// adoptHistory takes the attempts a copy of the record brings along.
func (p *part) adoptHistory(h *eventv1.History) {
	for _, a := range h.GetFirst() {
		p.addAttempt(a)
	}
	for _, a := range h.GetLast() {
		p.addAttempt(a)
	}
	if p.history != nil {
		p.history.Attempts = max(p.history.GetAttempts(), h.GetAttempts())
	}
}

func (p *part) knows(number uint32) bool {
	for _, a := range p.history.GetFirst() {
		if a.GetNumber() == number {
			return true
		}
	}
	for _, a := range p.history.GetLast() {
		if a.GetNumber() == number {
			return true
		}
	}
	return false
}

// inserted returns the list with an attempt at its place.
func inserted(list []*eventv1.Attempt, a *eventv1.Attempt) []*eventv1.Attempt {
	at := len(list)
	for at > 0 && list[at-1].GetNumber() > a.GetNumber() {
		at--
	}
	list = append(list, nil)
	copy(list[at+1:], list[at:])
	list[at] = a
	return list
}
