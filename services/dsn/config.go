// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"strings"
	"time"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/mailaddr"
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
	// SubmitTimeout bounds one call to the gateway.
	SubmitTimeout config.Duration `yaml:"submit_timeout" help:"How long one call to the gateway may take. A call that fails is repeated until it succeeds."`
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
