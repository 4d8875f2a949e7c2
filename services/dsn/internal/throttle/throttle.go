// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

// Limits are the most notifications of one window that are sent by themselves. 0 sends none: all are joined.
type Limits struct {
	// PerSender is for one envelope sender, and so for one mailbox that gets them.
	PerSender int
	// PerDomain is for all envelope senders of one domain together.
	PerDomain int
	// PerRecipient is for one envelope sender, recipient and status.
	PerRecipient int
	// Window is how long is counted. Windows begin at multiples of it since the Unix epoch: with an hour at the full hour.
	Window time.Duration
}

// Limit names the limit that was passed.
type Limit string

// The limits, in the order in which they are looked at.
const (
	None      Limit = ""
	Sender    Limit = "sender"
	Domain    Limit = "domain"
	Recipient Limit = "recipient"
)

// maxCounted is how many things are counted at once, some 50 MB. What is beyond is not counted and not joined.
const maxCounted = 1 << 20

// Counted is a recipient of a notification, as it is counted.
type Counted struct {
	Address string
	// Status is the enhanced status that is reported, such as "5.1.1".
	Status string
}

// Verdict is what a notification comes to.
type Verdict struct {
	// Due is the end of the window: when what is joined is told.
	Due time.Time
	// Joined names, for each recipient, the limit for which it is joined, or None.
	Joined []Limit
	// Opened are the limits that this notification was the first to pass in its window.
	Opened []Limit
}

// Throttle counts. It may be used by several goroutines.
type Throttle struct {
	limits Limits
	seed   maphash.Seed
	most   int // of counts

	mu sync.Mutex
	// due is the end of the window that is counted, told the last one whose list is made.
	due, told time.Time
	counts    map[uint64]int
}

// New returns a Throttle that gives no verdict for windows that end at told or before.
func New(limits Limits, told time.Time) *Throttle {
	return &Throttle{limits: limits, seed: maphash.MakeSeed(), most: maxCounted, told: told, counts: map[uint64]int{}}
}

// Begin returns when the window of a moment began: where counting has to begin so that its verdicts are those of before.
func (l Limits) Begin(at time.Time) time.Time { return l.end(at).Add(-l.Window) }

// end returns the end of a moment's window.
func (l Limits) end(at time.Time) time.Time {
	return time.Unix(0, at.UnixNano()-at.UnixNano()%int64(l.Window)).Add(l.Window).UTC()
}

// Count counts a notification that is due, stored at a time of the store's clock, and tells what of it is joined. It is
// called in the order in which outcomes were stored. Time that goes back, as when another server leads, counts as
// standing still.
func (t *Throttle) Count(at time.Time, sender string, recipients []Counted) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(at)
	v := Verdict{Due: t.due, Joined: make([]Limit, len(recipients))}
	over := t.over(&v, Sender, t.limits.PerSender, t.count("s", sender))
	if t.over(&v, Domain, t.limits.PerDomain, t.count("d", domainOf(sender))) && !over {
		v.joinAll(Domain)
	}
	if over {
		v.joinAll(Sender)
	}
	for i, r := range recipients {
		if t.over(&v, Recipient, t.limits.PerRecipient, t.count("r", sender, r.Address, r.Status)) && v.Joined[i] == None {
			v.Joined[i] = Recipient
		}
	}
	return v
}

// Due returns when what is joined at a moment is told. It is called in the order in which outcomes were stored.
func (t *Throttle) Due(at time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(at)
	return t.due
}

// Look tells what would be said of a notification now, and counts nothing.
func (t *Throttle) Look(at time.Time, sender string, recipients []Counted) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := Verdict{Due: t.limits.end(at), Joined: make([]Limit, len(recipients))}
	counted := func(parts ...string) int {
		if v.Due.After(t.due) {
			return 0
		}
		return t.counts[t.key(parts)]
	}
	for i, r := range recipients {
		switch {
		case counted("s", sender) >= t.limits.PerSender:
			v.Joined[i] = Sender
		case counted("d", domainOf(sender)) >= t.limits.PerDomain:
			v.Joined[i] = Domain
		case counted("r", sender, r.Address, r.Status) >= t.limits.PerRecipient:
			v.Joined[i] = Recipient
		}
	}
	return v
}

// Tell says that the list of a window is being made: nothing is joined into that window, or one before it, any more.
func (t *Throttle) Tell(due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if due.After(t.told) {
		t.told = due
	}
}

// enter begins a new window when it is time. t.mu is held.
func (t *Throttle) enter(at time.Time) {
	end := t.limits.end(at)
	if !end.After(t.told) {
		end = t.limits.end(t.told)
	}
	if end.After(t.due) {
		t.due = end
		clear(t.counts)
	}
}

// count adds one and returns the new count, 0 when there is no room. t.mu is held.
func (t *Throttle) count(parts ...string) int {
	key := t.key(parts)
	n := t.counts[key]
	if n == 0 && len(t.counts) >= t.most {
		return 0
	}
	t.counts[key] = n + 1
	return n + 1
}

// over reports a count beyond a limit and notes when it is the first.
func (t *Throttle) over(v *Verdict, limit Limit, most, count int) bool {
	if count == most+1 {
		v.Opened = append(v.Opened, limit)
	}
	return count > most
}

func (v *Verdict) joinAll(limit Limit) {
	for i := range v.Joined {
		v.Joined[i] = limit
	}
}

// key is a hash over the parts, addresses with their domain in lower case.
func (t *Throttle) key(parts []string) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, part := range parts {
		at := strings.LastIndexByte(part, '@') + 1
		_, _ = h.WriteString(part[:at])
		_, _ = h.WriteString(strings.ToLower(part[at:]))
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

func domainOf(address string) string { return address[strings.LastIndexByte(address, '@')+1:] }
