// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"strings"

	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/services/sender/internal/sitelimit"
)

// limits are those of a lane, over all senders (S-74): of a site, or of a domain with limits of its own.
func (s *service) limits(name string) sitelimit.Config {
	entry := s.destinations.For(name, "")
	if strings.Contains(name, ",") {
		entry = s.destinations.For("", name)
	}
	c := sitelimit.Config{Connections: s.config.Connections, Rate: entry.Rate}
	if entry.Connections > 0 {
		c.Connections = entry.Connections
	}
	return c
}

// share is this sender's part of a limit that all senders keep together.
func (s *service) share(limit int) int {
	share := s.senders.count()
	return max(1, (limit+share-1)/share)
}

// apart reports a domain with limits of its own: it has lanes of its own, whatever its hosts.
func (s *service) apart(domain string) bool { return s.destinations.For(domain, "").Apart() }

// ownName is the name no mail host may answer EHLO with (S-19): node.name, when a listener of ours is on and the name is
// one others can have from DNS. Empty: none.
func ownName(cfg Config, env runner.Env) string {
	if !cfg.OwnListener || !strings.Contains(env.Node.Name, ".") {
		return ""
	}
	return env.Node.Name
}
