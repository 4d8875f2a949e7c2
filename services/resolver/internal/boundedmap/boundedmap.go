// SPDX-License-Identifier: Apache-2.0

// Package boundedmap is a map that never grows beyond its limit: what was put in first goes first. It knows
// nothing of DNS.
package boundedmap

import "sync"

// Map holds values by key. It is safe for concurrent use; reading changes nothing, so readers do not wait for readers.
type Map[K comparable, V any] struct {
	limit int

	mu       sync.RWMutex
	entries  map[K]*entry[K, V]
	oldest   *entry[K, V]
	youngest *entry[K, V]
}

type entry[K comparable, V any] struct {
	key            K
	value          V
	older, younger *entry[K, V]
}

// New returns an empty Map for at most limit values, at least one.
func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: max(limit, 1), entries: map[K]*entry[K, V]{}}
}

// Get returns the value of a key.
func (m *Map[K, V]) Get(key K) (V, bool) {
	m.mu.RLock()
	e := m.entries[key]
	m.mu.RUnlock()
	if e == nil {
		var none V
		return none, false
	}
	return e.value, true
}

// Put sets the value of a key, which becomes the youngest, and drops the oldest when the limit is passed.
func (m *Map[K, V]) Put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old := m.entries[key]; old != nil {
		m.remove(old)
	}
	for len(m.entries) >= m.limit {
		m.remove(m.oldest)
	}
	e := &entry[K, V]{key: key, value: value, older: m.youngest}
	m.entries[key] = e
	if m.youngest != nil {
		m.youngest.younger = e
	} else {
		m.oldest = e
	}
	m.youngest = e
}

// Delete drops a key.
func (m *Map[K, V]) Delete(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[key]; e != nil {
		m.remove(e)
	}
}

// DeleteFunc drops the keys for which drop is true and returns how many there were.
func (m *Map[K, V]) DeleteFunc(drop func(K, V) bool) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for e := m.oldest; e != nil; e = e.younger {
		if drop(e.key, e.value) {
			m.remove(e)
			n++
		}
	}
	return n
}

// Len returns the number of values.
func (m *Map[K, V]) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.entries)
}

func (m *Map[K, V]) remove(e *entry[K, V]) {
	delete(m.entries, e.key)
	if e.older != nil {
		e.older.younger = e.younger
	} else {
		m.oldest = e.younger
	}
	if e.younger != nil {
		e.younger.older = e.older
	} else {
		m.youngest = e.older
	}
}
