// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// parts is what services say of the parts they depend on (Env.Health). The zero value is empty and ready.
type parts struct {
	mu      sync.Mutex
	trouble map[string]string // "" for a part that works
}

// setPart takes how a part stands and tells it to grpc.health.v1.
func (r *run) setPart(name, trouble string) {
	r.parts.mu.Lock()
	defer r.parts.mu.Unlock()
	if r.parts.trouble == nil {
		r.parts.trouble = map[string]string{}
	}
	r.parts.trouble[name] = trouble
	r.server.SetServing(name, trouble == "")
}

// write prints one line for each part.
func (p *parts) write(w io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(p.trouble)) {
		word := "ok"
		if trouble := p.trouble[name]; trouble != "" {
			word = strings.Join(strings.Fields(trouble), " ")
		}
		_, _ = fmt.Fprintf(w, "%s: %s\n", name, word) // the client may be gone
	}
}
