// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"fmt"
	"net/netip"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/retryschedule"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Config is the section sender.
type Config struct {
	// Listen is the gRPC address.
	Listen string `yaml:"listen" help:"host:port of gRPC. Without tokens_file only a loopback address is allowed."`
	// Tokens names the callers.
	Tokens string `yaml:"tokens_file" help:"YAML list of name, sha256 (of the bearer token, hexadecimal) and rights; calls need operator. Empty: everybody on loopback may do everything."`
	// ResolverAddress is where routes are asked for.
	ResolverAddress string `yaml:"resolver_address" help:"host:port of the resolver. Not used in the all-in-one."`
	// TokenFile is our token for the resolver.
	TokenFile string `yaml:"token_file" help:"File with the bearer token for the resolver. Empty: none is sent."`
	// SMTPPort is dialled at mail hosts.
	SMTPPort uint16 `yaml:"smtp_port" help:"TCP port of mail hosts."`
	// SourceAddresses are the local addresses connections begin at.
	SourceAddresses []netip.Addr `yaml:"source_addresses" help:"Local IP addresses connections to mail hosts begin at, at most one of each family in use for a message. Empty: the system chooses."`
	// Connections is the most connections to one destination (S-74).
	Connections int `yaml:"connections" help:"Most connections to one destination, shared by all senders; sender.destinations may set it apart."`
	// Attempts is the most attempts at once.
	Attempts int `yaml:"attempts" help:"Most attempts at once in this process, over all destinations."`
	// Timeouts are the limits of the steps of a session.
	Timeouts smtpclient.Timeouts `yaml:"timeouts" help:"Times of an SMTP session, each for the whole reply."`
	// MinDataRate is the least rate of the content (S-08).
	MinDataRate config.Size `yaml:"min_data_rate" help:"Least rate, in bytes a second, at which a host takes the content."`
	// OwnListener says that an SMTP listener of ours is on (S-19).
	OwnListener bool `yaml:"own_listener" help:"An SMTP listener of ours is on under node.name: a mail host that answers EHLO with that name is ourselves and gets no mail. The all-in-one sets it with gateway.smtp_listen."`
	// Retry says when mail is tried again.
	Retry retryschedule.Config `yaml:"retry" help:"When deferred mail is tried again, and when that ends."`
	// Destinations are exceptions for destinations.
	Destinations destination.List `yaml:"destinations" help:"Settings for single destinations: match, max_size, connections, rate, tls, smarthost."`
}

// Default returns a sender on loopback with the times of RFC 5321, section 4.5.3.2.
func Default() Config {
	timeouts := smtpclient.DefaultTimeouts()
	return Config{
		Listen:          "127.0.0.1:9927",
		ResolverAddress: "127.0.0.1:9926",
		SMTPPort:        25,
		SourceAddresses: []netip.Addr{},
		Connections:     20,
		Attempts:        1000,
		Timeouts:        timeouts,
		MinDataRate:     timeouts.MinDataRate,
		Retry:           retryschedule.Default(),
		Destinations:    destination.List{},
	}
}

// Validate names every key at fault.
func (c *Config) Validate() error {
	var f config.Faults
	f.Listen("sender.listen", c.Listen)
	f.Target("sender.resolver_address", c.ResolverAddress)
	f.Check(c.SMTPPort > 0, "sender.smtp_port", "must be between 1 and 65535, not 0")
	for i, a := range c.SourceAddresses {
		f.Check(a.IsValid() && !a.IsUnspecified() && !a.IsMulticast(), fmt.Sprintf("sender.source_addresses[%d]", i),
			"must be an address of this machine, not %q", a)
	}
	f.Check(c.Connections >= 1 && c.Connections <= 1000, "sender.connections", "must be between 1 and 1000, not %d", c.Connections)
	f.Check(c.Attempts >= 1 && c.Attempts <= 100_000, "sender.attempts", "must be between 1 and 100000, not %d", c.Attempts)
	timeouts := c.timeouts()
	f.Join(timeouts.Validate())
	f.Join(c.Retry.Validate())
	f.Join(c.Destinations.Validate())
	for i, d := range c.Destinations {
		key := fmt.Sprintf("sender.destinations[%d]", i)
		f.Check(d.Rate == 0, key+".rate", "is not supported yet; leave it out")
	}
	return f.Err()
}

// timeouts returns the times of a session with the rate that stands beside them in the file.
func (c *Config) timeouts() smtpclient.Timeouts {
	t := c.Timeouts
	t.MinDataRate = c.MinDataRate
	return t
}

// ListenAddress returns the gRPC address (kit/runner).
func (c *Config) ListenAddress() string { return c.Listen }

// TokensFile returns the file of callers, "" for none (kit/runner).
func (c *Config) TokensFile() string { return c.Tokens }

// UsesNATS says that the service cannot work without the queue (kit/runner).
func (c *Config) UsesNATS() bool { return true }
