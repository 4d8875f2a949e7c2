// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"time"

	"github.com/postrider/postrider/services/resolver/internal/boundedmap"
)

// Entry is a policy that was fetched.
type Entry struct {
	// ID is that of the TXT record it was fetched for.
	ID string `json:"id"`
	// Policy is the file's content.
	Policy Policy `json:"policy"`
	// Fetched is when.
	Fetched time.Time `json:"fetched"`
}

// Expires is when the policy is no longer in force.
func (e *Entry) Expires() time.Time { return e.Fetched.Add(e.Policy.MaxAge) }

// refreshAfter is the age at which a policy whose id has not changed is fetched again beside, so that one in use never
// runs out while its host can be reached (RFC 8461, section 3.3).
func (e *Entry) refreshAfter() time.Duration { return min(e.Policy.MaxAge/2, 24*time.Hour) }

// Memory holds the policies in force. It is safe for concurrent use.
type Memory struct {
	entries *boundedmap.Map[string, *Entry]
}

// NewMemory returns a Memory for at most limit domains.
func NewMemory(limit int) *Memory {
	return &Memory{entries: boundedmap.New[string, *Entry](limit)}
}

// Get returns the policy of a domain that is in force at a moment, nil without one.
func (m *Memory) Get(domain string, now time.Time) *Entry {
	e, ok := m.entries.Get(domain)
	if !ok || !now.Before(e.Expires()) {
		return nil
	}
	return e
}

// Put keeps a policy unless a later one is known; it reports whether it was kept.
func (m *Memory) Put(domain string, e *Entry) bool {
	if had, ok := m.entries.Get(domain); ok && !had.Fetched.Before(e.Fetched) {
		return false
	}
	m.entries.Put(domain, e)
	return true
}

// Len returns the number of policies held.
func (m *Memory) Len() int { return m.entries.Len() }
