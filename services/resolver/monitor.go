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

// monitor checks all servers from time to time and tells serverhealth, which announces what changes.
type monitor struct {
	interval time.Duration
	servers  []netip.AddrPort
	checker  servercheck.Checker
	health   *serverhealth.Health
	meters   *meters
}

func newMonitor(cfg *Config, servers []netip.AddrPort, health *serverhealth.Health, m *meters) *monitor {
	name, _ := mailaddr.ToASCII(cfg.CheckName) // valid, or empty
	t := cfg.Timeouts
	return &monitor{
		interval: cfg.CheckInterval.Std(), servers: servers, health: health, meters: m,
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

// check checks one server and tells serverhealth. fine says that both transports answered.
func (m *monitor) check(ctx context.Context, server netip.AddrPort, checker servercheck.Checker) (probes []servercheck.Probe, fine bool) {
	probes = checker.Check(ctx, server)
	if ctx.Err() != nil {
		return probes, false
	}
	o := serverhealth.Observation{Server: serverhealth.Failed}
	for _, p := range probes {
		m.meters.checked(server, p)
		if p.Name != servercheck.Plain {
			continue
		}
		verdict, word := serverhealth.Worked, dnsquery.Result(p.Result)
		if p.Result != servercheck.OK {
			verdict, o.Result = serverhealth.Failed, word
		} else {
			o.Server = serverhealth.Worked
		}
		if p.Transport == dnstransport.TCP {
			o.TCP, o.TCPResult = verdict, word
		} else {
			o.UDP, o.UDPResult = verdict, word
		}
	}
	m.health.Observe(server, o)
	return probes, o.UDP == serverhealth.Worked && o.TCP == serverhealth.Worked
}
