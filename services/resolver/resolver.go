// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/dnscache"
	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/inflight"
	"github.com/postrider/postrider/services/resolver/internal/mtasts"
	"github.com/postrider/postrider/services/resolver/internal/ownhost"
	"github.com/postrider/postrider/services/resolver/internal/route"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/services/resolver/internal/specialaddr"
	"github.com/postrider/postrider/services/resolver/internal/tlspolicy"
)

// scope names the instruments and spans of this service.
const scope = "github.com/postrider/postrider/services/resolver"

// smtpPort is where mail goes when nobody says otherwise (RFC 5321, section 4.5.4.2).
const smtpPort = 25

// service is the running service (runner.Service).
type service struct {
	resolverv1.UnimplementedResolverServiceServer

	log      *slog.Logger
	router   *route.Router
	cache    *dnscache.Cache
	exchange *dnsexchange.Exchange
	health   *serverhealth.Health
	policies *mtasts.Finder
	sharing  *mtasts.Sharing // nil without NATS
	monitor  *monitor
	meters   *meters
	detail   func(part, trouble string) // of the service's health
}

// New builds the service. It needs nothing to be there yet: a DNS server may begin to answer later.
func New(ctx context.Context, cfg Config, env runner.Env) (runner.Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	servers, err := cfg.servers()
	if err != nil {
		return nil, err
	}
	s := &service{log: env.Log, detail: env.Health}
	if s.meters, err = newMeters(env.Meter.Meter(scope)); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s.health = serverhealth.New(servers, nil, s.announce)
	for _, one := range s.health.Status() {
		s.tellHealth(one)
	}
	s.exchange = dnsexchange.New(dnsexchange.Options{
		Servers: servers, Prefer: dnstransport.Transport(cfg.Transport), Trusted: cfg.trusts(), Timeouts: cfg.Timeouts.exchange(),
		FailureTTL: cfg.Cache.FailureTTL.Std(), Health: s.health, Tracer: env.Tracer.Tracer(scope),
		Observe: s.meters.query, TCPUnavailable: s.meters.tcpUnavailable,
	})
	s.cache = dnscache.New(dnscache.Options{Entries: cfg.Cache.Entries, MaxTTL: cfg.Cache.MaxTTL.Std()})
	if err := s.meters.observeCache(s.cache.Len); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	own, err := cfg.own(env)
	if err != nil {
		return nil, err
	}
	dns := s.cache.Over(inflight.New(s.cache.Keep(s.exchange)))
	guard := specialaddr.Guard{Allow: cfg.AllowSpecialAddresses}
	if err := s.openPolicies(&cfg, env, dns, guard); err != nil {
		return nil, err
	}
	s.router = route.New(route.Options{
		DNS: dns, TLS: tlspolicy.NewPublished(dns, s.policies), Own: own,
		Guard: guard, Port: cfg.port(), Entries: cfg.Cache.Entries,
	})
	s.monitor = newMonitor(&cfg, servers, s)
	env.Log.LogAttrs(ctx, slog.LevelInfo, "DNS servers", slog.Any("servers", servers), slog.String("transport", cfg.Transport))
	return s, nil
}

// openPolicies builds what finds MTA-STS policies and shares them with other replicas when there is NATS.
func (s *service) openPolicies(cfg *Config, env runner.Env, dns dnsquery.Querier, guard specialaddr.Guard) error {
	memory := mtasts.NewMemory(cfg.Cache.Entries)
	fetcher := &mtasts.Fetcher{DNS: dns, Guard: guard, Timeout: cfg.MTASTS.FetchTimeout.Std(), Port: cfg.MTASTS.Port}
	options := mtasts.Options{DNS: dns, Fetch: fetcher.Fetch, Memory: memory}
	if env.NATS != nil {
		js, err := jetstream.New(env.NATS)
		if err != nil {
			return fmt.Errorf("JetStream: %w", err)
		}
		s.sharing = mtasts.NewSharing(js, memory, env.Log)
		options.Share = s.sharing.Share
	}
	s.policies = mtasts.New(options)
	return nil
}

// Register adds the gRPC service (runner.Service).
func (s *service) Register(r grpc.ServiceRegistrar) { resolverv1.RegisterResolverServiceServer(r, s) }

// Rights lets every known caller ask for routes (runner.Rights).
func (s *service) Rights() map[string]rpc.Right {
	return map[string]rpc.Right{resolverv1.ResolverService_ResolveRoute_FullMethodName: rpc.RightAny}
}

// Run checks the DNS servers from time to time and shares policies until ctx ends (runner.Service).
func (s *service) Run(ctx context.Context, ready func()) error {
	defer s.exchange.Close()
	defer s.policies.Close()
	var wg sync.WaitGroup
	if s.sharing != nil {
		wg.Go(func() { s.sharing.Run(ctx, ready) })
	} else {
		ready()
	}
	wg.Go(func() { s.monitor.run(ctx) })
	wg.Wait()
	return nil
}

// own is what R-17 calls ourselves.
func (c *Config) own(env runner.Env) (*ownhost.Own, error) {
	names := make([]string, 0, len(env.Node.OwnHosts))
	for _, host := range env.Node.OwnHosts {
		name, err := mailaddr.ToASCII(host)
		if err != nil {
			return nil, fmt.Errorf("node.own_hosts: %q: %w", host, err)
		}
		names = append(names, name)
	}
	addresses := make([]netip.Addr, 0, len(env.Node.OwnAddresses))
	for _, text := range env.Node.OwnAddresses {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("node.own_addresses: %w", err)
		}
		addresses = append(addresses, addr)
	}
	listeners := make([]netip.AddrPort, 0, len(c.OwnListeners))
	for _, text := range c.OwnListeners {
		listener, err := parseListener(text)
		if err != nil {
			return nil, fmt.Errorf("resolver.own_listeners: %w", err)
		}
		listeners = append(listeners, listener)
	}
	return ownhost.New(names, addresses, listeners), nil
}

func (c *Config) port() uint16 {
	if c.SMTPPort == 0 {
		return smtpPort
	}
	return c.SMTPPort
}

// trusts tells whose AD bit is believed. The configuration is valid.
func (c *Config) trusts() func(netip.Addr) bool {
	var networks []netip.Prefix
	for _, text := range c.TrustedServers {
		if p, err := parsePrefix(text); err == nil {
			networks = append(networks, p)
		}
	}
	return func(addr netip.Addr) bool {
		for _, p := range networks {
			if p.Contains(addr.WithZone("")) {
				return true
			}
		}
		return false
	}
}

func (t *Timeouts) exchange() dnsexchange.Timeouts {
	return dnsexchange.Timeouts{
		UDPFirst: t.UDPFirst.Std(), UDPSecond: t.UDPSecond.Std(), TCPConnect: t.TCPConnect.Std(), TCPTotal: t.TCPTotal.Std(),
		Lookup: t.Lookup.Std(), LookupPerServer: t.LookupPerServer.Std(),
	}
}
