// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"testing"

	"github.com/emersion/go-message"

	"github.com/postrider/postrider/services/dsn/internal/strict"
)

// parsed is a notification as an independent, strict reader sees it.
type parsed struct {
	header message.Header
	// types holds the media types of the parts, text the decoded first one, returned the decoded third one.
	types    []string
	text     string
	status   []group
	returned string
	boundary string
}

// group is a group of fields of the status part, in order.
type group []field

type field struct{ name, value string }

// get returns the value of a field and fails when it stands there more than once.
func (g group) get(t *testing.T, name string) string {
	t.Helper()
	at := slices.IndexFunc(g, func(f field) bool { return f.name == name })
	if at < 0 {
		return ""
	}
	if slices.ContainsFunc(g[at+1:], func(f field) bool { return f.name == name }) {
		t.Errorf("field %s stands there more than once", name)
	}
	return g[at].value
}

func (g group) names() []string {
	var names []string
	for _, f := range g {
		names = append(names, f.name)
	}
	return names
}

func parse(content []byte) (parsed, error) {
	r, err := strict.Parse(content)
	p := parsed{header: r.Header, types: r.Types, text: r.Text, returned: r.Returned, boundary: r.Boundary}
	for _, from := range r.Status {
		var g group
		for _, f := range from {
			g = append(g, field{f.Name, f.Value})
		}
		p.status = append(p.status, g)
	}
	return p, err
}

// mustParse parses a notification that has to be sound.
func mustParse(t *testing.T, content []byte) parsed {
	t.Helper()
	p, err := parse(content)
	if err != nil {
		t.Fatalf("notification is not sound: %v\n%s", err, content)
	}
	return p
}
