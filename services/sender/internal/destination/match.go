// SPDX-License-Identifier: Apache-2.0

package destination

import "strings"

// Table finds the entry for a domain. It is made once and does not change; the zero value has none.
type Table struct{ entries map[string]*Config }

// Table returns the list as a table.
func (l List) Table() Table {
	t := Table{entries: make(map[string]*Config, len(l))}
	for i := range l {
		t.entries[normal(l[i].Match)] = &l[i]
	}
	return t
}

// For returns the entry for a domain in lower-case A-label form (or an address literal) and its site, of which either
// may be empty: that of the domain itself, else of the site, else of the nearest domain above, else "*". Without one it
// returns the zero Config.
func (t Table) For(domain, site string) Config {
	if len(t.entries) == 0 {
		return Config{}
	}
	for _, name := range []string{domain, strings.ToLower(site)} {
		if c := t.entries[name]; name != "" && c != nil {
			return *c
		}
	}
	for rest := domain; ; {
		_, above, found := strings.Cut(rest, ".")
		if !found {
			break
		}
		if c := t.entries["*."+above]; c != nil {
			return *c
		}
		rest = above
	}
	if c := t.entries["*"]; c != nil {
		return *c
	}
	return Config{}
}
