// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Everything as a destination of a change stands for all destinations.
const Everything = "*"

// Mail is what a change looks at.
type Mail struct {
	MessageID   string
	Destination string // domain in lower-case A-label form, or an address literal
	AcceptedAt  time.Time
}

// Of returns what a change looks at in a record.
func Of(m *eventv1.QueuedMail) Mail {
	return Mail{MessageID: m.GetMessageId(), Destination: m.GetDestination(), AcceptedAt: m.GetAcceptedAt().AsTime()}
}

// Standing is what operators decided for some mail. A nil field says that they decided nothing.
type Standing struct {
	Cancelled, Held, Suspended *eventv1.Change
}

// Aside reports whether the mail is not to be attempted for now.
func (s Standing) Aside() bool { return s.Held != nil || s.Suspended != nil }

// Entry is a change with its place in the order of all.
type Entry struct {
	*eventv1.Change
	// Order is higher for a later change.
	Order uint64
}

// matches reports whether mail found by its id or destination is old enough to be meant.
func (e *Entry) matches(m Mail) bool {
	return e.GetAcceptedBefore() == nil || m.AcceptedAt.Before(e.GetAcceptedBefore().AsTime())
}

// index finds the changes that match some mail.
type index struct {
	byID          map[string]*Entry
	byMessage     map[string][]*Entry
	byDestination map[string][]*Entry
}

func newIndex() *index {
	return &index{
		byID: make(map[string]*Entry), byMessage: make(map[string][]*Entry), byDestination: make(map[string][]*Entry),
	}
}

func (x *index) add(e *Entry) {
	x.remove(e.GetId())
	x.byID[e.GetId()] = e
	for _, id := range e.GetMessageIds() {
		x.byMessage[id] = append(x.byMessage[id], e)
	}
	for _, d := range e.GetDestinations() {
		x.byDestination[d] = append(x.byDestination[d], e)
	}
}

func (x *index) remove(id string) {
	e := x.byID[id]
	if e == nil {
		return
	}
	delete(x.byID, id)
	for _, message := range e.GetMessageIds() {
		drop(x.byMessage, message, e)
	}
	for _, d := range e.GetDestinations() {
		drop(x.byDestination, d, e)
	}
}

func drop(lists map[string][]*Entry, key string, e *Entry) {
	var kept []*Entry
	for _, other := range lists[key] {
		if other != e {
			kept = append(kept, other)
		}
	}
	if len(kept) == 0 {
		delete(lists, key)
		return
	}
	lists[key] = kept
}

// each calls fn with every change that matches.
func (x *index) each(m Mail, fn func(*Entry)) {
	for _, list := range [][]*Entry{x.byMessage[m.MessageID], x.byDestination[m.Destination], x.byDestination[Everything]} {
		for _, e := range list {
			if e.matches(m) {
				fn(e)
			}
		}
	}
}

func (x *index) standing(m Mail) Standing {
	if len(x.byID) == 0 {
		return Standing{}
	}
	var cancel, hold, suspend *Entry // the latest of each kind
	later := func(known **Entry, e *Entry) {
		if *known == nil || e.Order > (*known).Order {
			*known = e
		}
	}
	x.each(m, func(e *Entry) {
		switch e.GetAction() {
		case eventv1.ChangeAction_CHANGE_ACTION_CANCEL:
			later(&cancel, e)
		case eventv1.ChangeAction_CHANGE_ACTION_HOLD, eventv1.ChangeAction_CHANGE_ACTION_RELEASE:
			later(&hold, e)
		case eventv1.ChangeAction_CHANGE_ACTION_SUSPEND, eventv1.ChangeAction_CHANGE_ACTION_RESUME:
			later(&suspend, e)
		}
	})
	var s Standing
	if cancel != nil {
		s.Cancelled = cancel.Change
	}
	if hold.is(eventv1.ChangeAction_CHANGE_ACTION_HOLD) {
		s.Held = hold.Change
	}
	if suspend.is(eventv1.ChangeAction_CHANGE_ACTION_SUSPEND) {
		s.Suspended = suspend.Change
	}
	return s
}

func (e *Entry) is(a eventv1.ChangeAction) bool { return e != nil && e.GetAction() == a }

// Scans reports whether waiting mail that matches is looked for and taken out of its wait, or out of PARK.
func Scans(a eventv1.ChangeAction) bool {
	switch a {
	case eventv1.ChangeAction_CHANGE_ACTION_CANCEL, eventv1.ChangeAction_CHANGE_ACTION_RETRY_NOW,
		eventv1.ChangeAction_CHANGE_ACTION_RELEASE, eventv1.ChangeAction_CHANGE_ACTION_RESUME:
		return true
	}
	return false
}
