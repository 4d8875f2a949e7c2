// SPDX-License-Identifier: Apache-2.0

package sender_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/services/sender"
	"github.com/postrider/postrider/services/sender/internal/destination"
)

func TestDefaultIsValidAndPrintsAsAFile(t *testing.T) {
	c := sender.Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := config.PrintSections(&file, config.Section{Name: "sender", Value: &c}); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Sender sender.Config `yaml:"sender"`
	}
	back.Sender = sender.Default()
	if err := config.Decode(file.Bytes(), "printed", &back); err != nil {
		t.Fatalf("%v in\n%s", err, file.String())
	}
	if err := back.Sender.Validate(); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"listen", "smtp_port", "greeting_last", "min_data_rate", "pauses", "expire_after", "greeting_5xx", "destinations", "resolver_address", "source_addresses"} {
		if !strings.Contains(file.String(), "\n  "+key+":") && !strings.Contains(file.String(), "\n    "+key+":") {
			t.Errorf("key %s is not printed", key)
		}
	}
}

func TestFaultsNameTheirKey(t *testing.T) {
	tests := map[string]func(*sender.Config){
		"sender.listen":              func(c *sender.Config) { c.Listen = "nowhere" },
		"sender.resolver_address":    func(c *sender.Config) { c.ResolverAddress = "" },
		"sender.smtp_port":           func(c *sender.Config) { c.SMTPPort = 0 },
		"sender.source_addresses[0]": func(c *sender.Config) { c.SourceAddresses = []netip.Addr{netip.IPv4Unspecified()} },
		"sender.connections":         func(c *sender.Config) { c.Connections = 0 },
		"sender.attempts":            func(c *sender.Config) { c.Attempts = 0 },
		"sender.timeouts.dot":        func(c *sender.Config) { c.Timeouts.Dot = 0 },
		"sender.min_data_rate":       func(c *sender.Config) { c.MinDataRate = 0 },
		"sender.retry.pauses":        func(c *sender.Config) { c.Retry.Pauses = nil },
		"sender.retry.greeting_5xx":  func(c *sender.Config) { c.Retry.Greeting5xx = "sometimes" },
		"sender.destinations[0].match": func(c *sender.Config) {
			c.Destinations = destination.List{{Match: "not a domain"}}
		},
		"sender.destinations[0].rate": func(c *sender.Config) {
			c.Destinations = destination.List{{Match: "example.test", Rate: 10}}
		},
		"sender.destinations[0].tls": func(c *sender.Config) {
			c.Destinations = destination.List{{Match: "*", TLS: "require", Smarthost: destination.Smarthost{Host: "relay.test", Username: "u", PasswordFile: "f"}}}
		},
	}
	for key, change := range tests {
		c := sender.Default()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), key+":") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	var file struct {
		Sender sender.Config `yaml:"sender"`
	}
	err := config.Decode([]byte("sender:\n  smtp_prot: 25\n"), "test.yaml", &file)
	if err == nil || !strings.Contains(err.Error(), "smtp_prot") {
		t.Errorf("%v", err)
	}
}
