// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/services/resolver/internal/dnscache"
	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
)

// Config is the section resolver.
type Config struct {
	// Listen is the gRPC address.
	Listen string `yaml:"listen" help:"host:port of gRPC. Without tokens_file only a loopback address is allowed."`
	// Tokens names the callers.
	Tokens string `yaml:"tokens_file" help:"YAML list of name, sha256 (of the bearer token, hexadecimal) and rights; every known caller may ask for routes, the rest needs operator. Empty: everybody on loopback may do everything."`
	// Servers are the DNS servers, in the order in which they are asked.
	Servers []string `yaml:"servers" help:"DNS servers in the order asked: IP addresses, with a port if it is not 53. Empty: all of /etc/resolv.conf."`
	// Transport is what a lookup begins with, udp or tcp.
	Transport string `yaml:"transport" help:"udp or tcp: what a lookup begins with. The other one is used when it fails."`
	// AllowSpecialAddresses are special addresses mail may go to.
	AllowSpecialAddresses []netip.Prefix `yaml:"allow_special_addresses" help:"Networks (CIDR) that mail may be sent to although they are loopback, link-local or the like."`
	// TrustedServers are those whose AD bit is believed.
	TrustedServers []string `yaml:"trusted_servers" help:"Addresses or networks of DNS servers whose DNSSEC verdict (AD bit) is believed. Only for validating servers on a way nobody can listen to."`
	// OwnListeners are where SMTP listeners of ours listen.
	OwnListeners []string `yaml:"own_listeners" help:"host:port on which our own SMTP listeners listen: a mail host found there is ourselves. The all-in-one adds gateway.smtp_listen."`
	// SMTPPort is the port the sender dials.
	SMTPPort uint16 `yaml:"smtp_port" help:"Port the sender dials (sender.smtp_port). 0: 25; the all-in-one takes it from there."`
	// CheckInterval is how often all servers are checked.
	CheckInterval config.Duration `yaml:"check_interval" help:"How often every DNS server is checked over UDP and TCP. 0s: never."`
	// CheckName is what the check asks for.
	CheckName string `yaml:"check_name" help:"Name whose MX the check asks for. Empty: the name servers of the root."`
	// Cache bounds what is kept.
	Cache Cache `yaml:"cache" help:"What is kept of DNS answers."`
	// Timeouts bound the steps of a lookup.
	Timeouts Timeouts `yaml:"timeouts" help:"Times of a lookup."`
	// MTASTS is about policies of RFC 8461.
	MTASTS MTASTS `yaml:"mta_sts" help:"Policies of recipient domains (MTA-STS, RFC 8461)."`
}

// MTASTS is about policies of RFC 8461.
type MTASTS struct {
	// FetchTimeout bounds the fetch of a policy.
	FetchTimeout config.Duration `yaml:"fetch_timeout" help:"Whole fetch of a policy by HTTPS, 1s to 1m30s."`
	// Port is that of the policy hosts.
	Port uint16 `yaml:"port" help:"Port of the policy hosts. 443, but for tests."`
}

// Cache bounds what is kept of DNS answers.
type Cache struct {
	// Entries is the most answers kept, and the most routes.
	Entries int `yaml:"entries" help:"Most DNS answers kept, and most finished routes; the oldest goes first."`
	// MaxTTL is the longest lifetime of an answer.
	MaxTTL config.Duration `yaml:"max_ttl" help:"Longest time an answer is kept, 5s to 24h, whatever its TTL."`
	// FailureTTL is how long a server is not asked a question it failed.
	FailureTTL config.Duration `yaml:"failure_ttl" help:"How long a server is not asked again what it failed to answer, 1s to 5m."`
}

// Timeouts bound the steps of a lookup.
type Timeouts struct {
	// UDPFirst and UDPSecond are the waits for an answer over UDP.
	UDPFirst  config.Duration `yaml:"udp_first" help:"Wait for an answer over UDP before TCP and the next server are tried beside it."`
	UDPSecond config.Duration `yaml:"udp_second" help:"Wait for an answer to the second query over UDP."`
	// TCPConnect bounds the handshake, TCPTotal all of it.
	TCPConnect config.Duration `yaml:"tcp_connect" help:"TCP handshake."`
	TCPTotal   config.Duration `yaml:"tcp_total" help:"Exchange over TCP with its handshake."`
	// Lookup bounds a question at up to two servers; LookupPerServer is added for each further one.
	Lookup          config.Duration `yaml:"lookup" help:"One question at up to two servers."`
	LookupPerServer config.Duration `yaml:"lookup_per_server" help:"Added to lookup for each server beyond two."`
}

// Default asks the servers of /etc/resolv.conf over UDP.
func Default() Config {
	t := dnsexchange.DefaultTimeouts()
	return Config{
		Listen:         "127.0.0.1:9926",
		Transport:      string(dnstransport.UDP),
		TrustedServers: []string{"127.0.0.0/8", "::1/128"},
		CheckInterval:  config.Duration(time.Minute),
		Cache:          Cache{Entries: 100_000, MaxTTL: config.Duration(dnscache.MaxTTL), FailureTTL: config.Duration(10 * time.Second)},
		Timeouts: Timeouts{
			UDPFirst: config.Duration(t.UDPFirst), UDPSecond: config.Duration(t.UDPSecond),
			TCPConnect: config.Duration(t.TCPConnect), TCPTotal: config.Duration(t.TCPTotal),
			Lookup: config.Duration(t.Lookup), LookupPerServer: config.Duration(t.LookupPerServer),
		},
		MTASTS: MTASTS{FetchTimeout: config.Duration(time.Minute), Port: 443},
	}
}

// Validate names every key at fault.
func (c *Config) Validate() error {
	var f config.Faults
	f.Listen("resolver.listen", c.Listen)
	for i, s := range c.Servers {
		_, err := parseServer(s)
		f.Check(err == nil, fmt.Sprintf("resolver.servers[%d]", i), "must be an IP address, or one with a port such as 192.0.2.53:53, not %q", s)
	}
	known := c.Transport == string(dnstransport.UDP) || c.Transport == string(dnstransport.TCP)
	f.Check(known, "resolver.transport", "must be udp or tcp, not %q", c.Transport)
	for i, p := range c.AllowSpecialAddresses {
		f.Check(p.IsValid(), fmt.Sprintf("resolver.allow_special_addresses[%d]", i), "must be a network such as 127.0.0.0/8")
	}
	for i, s := range c.TrustedServers {
		_, err := parsePrefix(s)
		f.Check(err == nil, fmt.Sprintf("resolver.trusted_servers[%d]", i), "must be an IP address or a network such as 127.0.0.0/8, not %q", s)
	}
	for i, l := range c.OwnListeners {
		_, err := parseListener(l)
		f.Check(err == nil, fmt.Sprintf("resolver.own_listeners[%d]", i), "must be address:port, not %q", l)
	}
	if c.CheckInterval != 0 {
		f.Between("resolver.check_interval", c.CheckInterval, time.Second, 24*time.Hour)
	}
	if c.CheckName != "" {
		_, err := mailaddr.ToASCII(c.CheckName)
		f.Check(err == nil, "resolver.check_name", "must be a domain name, not %q", c.CheckName)
	}
	f.Check(c.Cache.Entries >= 1 && c.Cache.Entries <= 10_000_000, "resolver.cache.entries", "must be between 1 and 10000000, not %d", c.Cache.Entries)
	f.Between("resolver.cache.max_ttl", c.Cache.MaxTTL, dnscache.MinTTL, dnscache.MaxTTL)
	f.Between("resolver.cache.failure_ttl", c.Cache.FailureTTL, time.Second, 5*time.Minute)
	c.Timeouts.validate(&f)
	f.Between("resolver.mta_sts.fetch_timeout", c.MTASTS.FetchTimeout, time.Second, 90*time.Second)
	f.Check(c.MTASTS.Port > 0, "resolver.mta_sts.port", "must be between 1 and 65535, not 0")
	return f.Err()
}

func (t *Timeouts) validate(f *config.Faults) {
	for _, one := range []struct {
		key string
		d   config.Duration
	}{
		{"udp_first", t.UDPFirst},
		{"udp_second", t.UDPSecond},
		{"tcp_connect", t.TCPConnect},
		{"tcp_total", t.TCPTotal},
		{"lookup", t.Lookup},
		{"lookup_per_server", t.LookupPerServer},
	} {
		f.Between("resolver.timeouts."+one.key, one.d, 10*time.Millisecond, 2*time.Minute)
	}
	f.Check(t.TCPTotal >= t.TCPConnect, "resolver.timeouts.tcp_total", "must not be less than tcp_connect (%s), not %s", t.TCPConnect, t.TCPTotal)
}

// ListenAddress returns the gRPC address (kit/runner).
func (c *Config) ListenAddress() string { return c.Listen }

// TokensFile returns the file of callers, "" for none (kit/runner).
func (c *Config) TokensFile() string { return c.Tokens }
