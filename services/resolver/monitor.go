// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/servercheck"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
)

// monitor checks all servers from time to time and tells serverhealth, which announces what changes, and the health
// detail of the service.
type monitor struct {
	interval time.Duration
	servers  []netip.AddrPort
	checker  servercheck.Checker
	service  *service
}

func newMonitor(cfg *Config, servers []netip.AddrPort, s *service) *monitor {
	name, _ := mailaddr.ToASCII(cfg.CheckName) // valid, or empty
	t := cfg.Timeouts
	return &monitor{
		interval: cfg.CheckInterval.Std(), servers: servers, service: s,
		checker: servercheck.Checker{
			Name: name, First: t.UDPFirst.Std(), Second: t.UDPSecond.Std(), TCP: t.TCPTotal.Std(), Connect: t.TCPConnect.Std(),
		},
	}
}

// run checks at once and then every interval until ctx ends.
func (m *monitor) run(ctx context.Context) {
	if m.interval == 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(m.interval)
	defer ticker.Stop()
	for {
		m.round(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// round checks every server. One that fails is checked again until serverhealth is sure of it, so that it is announced
// within the round.
func (m *monitor) round(ctx context.Context) {
	var wg sync.WaitGroup
	for _, server := range m.servers {
		wg.Go(func() {
			for range serverhealth.After {
				if _, fine := m.check(ctx, server, m.checker); fine || ctx.Err() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

// check checks one server and tells serverhealth. fine says that nothing is left to be sure of: both transports are
// alive, and the server does not deny the name it was told to be checked with.
func (m *monitor) check(ctx context.Context, server netip.AddrPort, checker servercheck.Checker) (probes []servercheck.Probe, fine bool) {
	probes = checker.Check(ctx, server)
	if ctx.Err() != nil {
		return probes, false
	}
	o := serverhealth.Observation{}
	for _, p := range probes {
		m.service.meters.checked(server, p)
		if p.Name != servercheck.Plain {
			continue
		}
		verdict := serverhealth.Failed
		if p.Alive() {
			verdict = serverhealth.Worked
		}
		if p.Transport == dnstransport.TCP {
			o.TCP, o.TCPResult = verdict, p.Seen
		} else {
			o.UDP, o.UDPResult = verdict, p.Seen
		}
	}
	o.Server, o.Result = verdict(probes, checker.Name != "")
	m.service.health.Observe(server, o)
	return probes, o.UDP == serverhealth.Worked && o.TCP == serverhealth.Worked && o.Server != serverhealth.Failed
}

// verdict is what the plain probes say of the server as a whole. One that denies what it was asked is alive. Whether it
// looks up names for us a denied question about the root does not tell, since many servers deny just that; a denied
// name that was chosen for the check does, unless it is SERVFAIL, which is rather the name's fault (as in a lookup).
func verdict(probes []servercheck.Probe, named bool) (serverhealth.Verdict, dnsquery.Result) {
	v, seen := serverhealth.Failed, dnsquery.Result("")
	for _, p := range probes {
		switch {
		case p.Name != servercheck.Plain:
		case p.Result == servercheck.OK:
			return serverhealth.Worked, p.Seen
		case p.Result == servercheck.Denied:
			seen = p.Seen
			if !named || p.Seen == dnsquery.ResultServFail {
				v = serverhealth.Unknown
			}
		case seen == "":
			seen = p.Seen
		}
	}
	return v, seen
}
