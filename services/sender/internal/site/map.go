// SPDX-License-Identifier: Apache-2.0

package site

import (
	"container/list"
	"sync"
)

// Known is how many domains a Map of the service remembers, about 20 MB.
const Known = 100_000

// Map says which site a domain belongs to. It is bounded: the domain that was not asked for longest is forgotten, and is
// a site of its own again until its next route. It is safe for use by many goroutines.
type Map struct {
	most  int
	apart func(domain string) bool

	mu      sync.Mutex
	domains map[string]*list.Element
	order   list.List // of *entry, the one asked for last at the front
}

type entry struct{ domain, site string }

// New returns a map of at most so many domains. apart names domains that stay sites of their own whatever their route;
// nil: none.
func New(most int, apart func(domain string) bool) *Map {
	if apart == nil {
		apart = func(string) bool { return false }
	}
	return &Map{most: most, apart: apart, domains: make(map[string]*list.Element)}
}

// Of returns the site of a domain (lower-case A-label form, or an address literal).
func (m *Map) Of(domain string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.domains[domain]; e != nil {
		m.order.MoveToFront(e)
		return e.Value.(*entry).site
	}
	return domain
}

// Learn notes the site of a domain's route and returns the one it was taken for before, and the one it is now. An empty
// site says nothing.
func (m *Map) Learn(domain, site string) (before, now string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.domains[domain]
	before = domain
	if e != nil {
		before = e.Value.(*entry).site
	}
	switch {
	case site == "" || site == before || m.apart(domain):
		return before, before
	case e != nil:
		e.Value.(*entry).site = site
		m.order.MoveToFront(e)
		return before, site
	}
	m.domains[domain] = m.order.PushFront(&entry{domain, site})
	if m.order.Len() > m.most {
		oldest := m.order.Remove(m.order.Back()).(*entry)
		delete(m.domains, oldest.domain)
	}
	return before, site
}
