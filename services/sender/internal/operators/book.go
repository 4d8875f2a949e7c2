// SPDX-License-Identifier: Apache-2.0

package operators

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/changes"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// Mirror is the changes there are (changes.Mirror).
type Mirror interface {
	Standing(changes.Mail) changes.Standing
	Matching(m changes.Mail, wants func(*eventv1.Change) bool) []*eventv1.Change
	Progress(id string, partition int) *eventv1.Change
}

// Book is the changes as the owner of one partition sees them: with its own progress, which the mirror gets a moment
// later. It is safe for use by many goroutines.
type Book struct {
	mirror    Mirror
	partition int

	mu  sync.RWMutex
	own map[string]*eventv1.Change // progress by change id, never changed once it is here
}

// NewBook returns the book of a partition.
func NewBook(mirror Mirror, partition int) *Book {
	return &Book{mirror: mirror, partition: partition, own: make(map[string]*eventv1.Change)}
}

// Standing returns what operators decided for a record.
func (b *Book) Standing(m *eventv1.QueuedMail) changes.Standing {
	return b.mirror.Standing(changes.Of(m))
}

// Matches reports whether a change means a record.
func (b *Book) Matches(m *eventv1.QueuedMail, change string) bool {
	return len(b.mirror.Matching(changes.Of(m), func(c *eventv1.Change) bool { return c.GetId() == change })) > 0
}

// Copied reports whether a scan copied the record at p on: it matches a change whose scan has passed it. What was carried
// forward while its attempt goes on no scan copies.
func (b *Book) Copied(m *eventv1.QueuedMail, p ledger.Place) bool {
	if m.GetMovedFor() == settle.ForCarry {
		return false
	}
	passed := b.mirror.Matching(changes.Of(m), func(c *eventv1.Change) bool {
		return changes.Scans(c.GetAction()) && Passed(b.Progress(c.GetId()), p)
	})
	return len(passed) > 0
}

// Passed reports whether a scan has passed a place.
func Passed(progress *eventv1.Change, p ledger.Place) bool {
	for _, s := range progress.GetProgress() {
		if s.GetStream() == p.Stream && s.GetFirst() <= p.Sequence && p.Sequence <= s.GetSequence() {
			return true
		}
	}
	return false
}

// Progress returns how far the partition has come with a change; it must not be changed.
func (b *Book) Progress(id string) *eventv1.Change {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if own := b.own[id]; own != nil {
		return own
	}
	return b.mirror.Progress(id, b.partition)
}

// Note takes progress that was stored.
func (b *Book) Note(progress *eventv1.Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.own[progress.GetId()] = proto.CloneOf(progress)
}

// Keep forgets the progress of changes that are not there any more.
func (b *Book) Keep(there func(id string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.own {
		if !there(id) {
			delete(b.own, id)
		}
	}
}
