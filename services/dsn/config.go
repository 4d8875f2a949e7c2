// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"strings"
	"time"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/services/dsn/internal/throttle"
)

// Config is the section dsn.
type Config struct {
	// Listen is the gRPC address.
	Listen string `yaml:"listen" help:"host:port of gRPC. Without tokens_file only a loopback address is allowed."`
	// Tokens names the callers.
	Tokens string `yaml:"tokens_file" help:"YAML list of name, sha256 (of the bearer token, hexadecimal) and rights; Preview needs operator. Empty: everybody on loopback may do everything."`
	// GatewayAddress is where notifications are handed in.
	GatewayAddress string `yaml:"gateway_address" help:"host:port of the gateway that takes the notifications. Not used in the all-in-one."`
	// TokenFile is our token for the gateway.
	TokenFile string `yaml:"token_file" help:"File with the bearer token for the gateway; it needs the rights submit and null_sender. Empty: none is sent."`
	// From is the local part of the From field.
	From string `yaml:"from" help:"Local part of the From address of notifications; the domain is node.name."`
	// MaxReturnedSize is the largest original that is returned whole.
	MaxReturnedSize config.Size `yaml:"max_returned_size" help:"Largest message that a notification returns whole when RET=FULL asks for it (RFC 3461, section 4.3); of larger ones the header. At most 50KiB: the queue keeps no more for it."`
	// Concurrency is how many outcomes are handled at once.
	Concurrency int `yaml:"concurrency" help:"How many outcomes are handled at once, 1 to 1000."`
	// Throttle bounds how many notifications are sent one by one.
	Throttle Throttle `yaml:"throttle" help:"Limits of notifications in a window; what is beyond one is not lost, but told in a list at the end of the window."`
	// Postmaster is told of failed mail with the null sender.
	Postmaster string `yaml:"postmaster" help:"Address that gets, at the end of each throttle.window, a list of the mail without a return address that failed, of which nobody else is told (RFC 5321, section 6.1). Empty: such failures stand in log and metrics only."`
	// SubmitTimeout bounds one call to the gateway.
	SubmitTimeout config.Duration `yaml:"submit_timeout" help:"How long one call to the gateway may take. A call that fails is repeated until it succeeds."`
}

// Throttle is dsn.throttle: what is beyond a limit is joined into a list that is sent at the end of the window.
type Throttle struct {
	PerSender    int             `yaml:"per_sender" help:"Most notifications to one envelope sender in a window, one by one. 0: lists only."`
	PerDomain    int             `yaml:"per_domain" help:"Most notifications to all envelope senders of one domain together, one by one. Also the most lists to a domain at the end of a window, but 1000 at least; further ones follow a window later."`
	PerRecipient int             `yaml:"per_recipient" help:"Most notifications to one envelope sender about one recipient and status, one by one."`
	Window       config.Duration `yaml:"window" help:"How long is counted, 1s to 24h."`
}

// limits are the same as the service counts them.
func (t Throttle) limits() throttle.Limits {
	return throttle.Limits{
		PerSender: t.PerSender, PerDomain: t.PerDomain, PerRecipient: t.PerRecipient, Window: t.Window.Std(),
	}
}

// Default returns a service on loopback that hands in to the gateway beside it.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:9928",
		GatewayAddress:  "127.0.0.1:9925",
		From:            "MAILER-DAEMON",
		MaxReturnedSize: 50 * config.KiB,
		Concurrency:     32,
		SubmitTimeout:   config.Duration(30 * time.Second),
		Throttle:        Throttle{PerSender: 1000, PerDomain: 10000, PerRecipient: 10, Window: config.Duration(time.Hour)},
	}
}

// maxReturnedSize is what the sender puts behind an outcome at most.
const maxReturnedSize = 50 * config.KiB

// Validate names every key at fault.
func (c *Config) Validate() error {
	var f config.Faults
	f.Listen("dsn.listen", c.Listen)
	f.Target("dsn.gateway_address", c.GatewayAddress)
	f.Check(plainLocalPart(c.From), "dsn.from", "must be a local part without quotes such as MAILER-DAEMON, not %q", c.From)
	f.Check(c.MaxReturnedSize >= 0 && c.MaxReturnedSize <= maxReturnedSize, "dsn.max_returned_size",
		"must be between 0 and %s, not %s", maxReturnedSize, c.MaxReturnedSize)
	f.Check(c.Concurrency >= 1 && c.Concurrency <= 1000, "dsn.concurrency", "must be between 1 and 1000, not %d", c.Concurrency)
	for key, n := range map[string]int{
		"per_sender": c.Throttle.PerSender, "per_domain": c.Throttle.PerDomain, "per_recipient": c.Throttle.PerRecipient,
	} {
		f.Check(n >= 0, "dsn.throttle."+key, "must not be negative, but is %d", n)
	}
	f.Between("dsn.throttle.window", c.Throttle.Window, time.Second, 24*time.Hour)
	f.Check(c.Throttle.Window.Std()%time.Second == 0, "dsn.throttle.window", "must be whole seconds, not %s", c.Throttle.Window)
	if c.Postmaster != "" {
		_, err := mailaddr.Parse(c.Postmaster)
		f.Check(err == nil, "dsn.postmaster", "must be an address, not %q", c.Postmaster)
	}
	f.Between("dsn.submit_timeout", c.SubmitTimeout, time.Second, 10*time.Minute)
	return f.Err()
}

// plainLocalPart reports a local part that can stand in a From field as it is.
func plainLocalPart(local string) bool {
	address, err := mailaddr.Parse(local + "@example.com")
	return err == nil && address.Local == local && address.IsASCII() && !strings.HasPrefix(local, `"`)
}

// ListenAddress returns the gRPC address (kit/runner).
func (c *Config) ListenAddress() string { return c.Listen }

// TokensFile returns the file of callers, "" for none (kit/runner).
func (c *Config) TokensFile() string { return c.Tokens }

// UsesNATS says that the service cannot work without the queue (kit/runner).
func (c *Config) UsesNATS() bool { return true }
