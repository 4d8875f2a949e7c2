// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/config"
)

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.ListenAddress() != c.Listen || c.TokensFile() != "" {
		t.Error("what the runner asks for")
	}
}

func TestConfigFromYAML(t *testing.T) {
	c := Default()
	err := config.Decode([]byte(`
servers: [192.0.2.53, "192.0.2.54:5353", "2001:db8::53", "[2001:db8::54]:5353"]
transport: tcp
allow_special_addresses: [127.0.0.0/8, "::1/128"]
trusted_servers: []
own_listeners: [":25", "localhost:2525"]
cache:
  failure_ttl: 5s
timeouts:
  udp_first: 200ms
`), "test.yaml", &c)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	servers, err := c.servers()
	want := []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("192.0.2.54:5353"),
		netip.MustParseAddrPort("[2001:db8::53]:53"), netip.MustParseAddrPort("[2001:db8::54]:5353"),
	}
	if err != nil || !slices.Equal(servers, want) {
		t.Errorf("servers %v, %v", servers, err)
	}
	if len(c.AllowSpecialAddresses) != 2 || c.Cache.FailureTTL.Std() != 5*time.Second || c.Timeouts.UDPSecond.Std() != 2*time.Second {
		t.Errorf("%+v", c)
	}
	if c.trusts()(netip.MustParseAddr("127.0.0.1")) {
		t.Error("an empty list trusts somebody")
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"resolver.listen":                     func(c *Config) { c.Listen = "nowhere" },
		"resolver.servers[1]":                 func(c *Config) { c.Servers = []string{"192.0.2.1", "dns.example.com"} },
		"resolver.servers[0]":                 func(c *Config) { c.Servers = []string{"192.0.2.1:0"} },
		"resolver.transport":                  func(c *Config) { c.Transport = "quic" },
		"resolver.allow_special_addresses[0]": func(c *Config) { c.AllowSpecialAddresses = []netip.Prefix{{}} },
		"resolver.trusted_servers[0]":         func(c *Config) { c.TrustedServers = []string{"localhost"} },
		"resolver.own_listeners[0]":           func(c *Config) { c.OwnListeners = []string{"mail.example.com:25"} },
		"resolver.check_interval":             func(c *Config) { c.CheckInterval = config.Duration(time.Millisecond) },
		"resolver.check_name":                 func(c *Config) { c.CheckName = "a..b" },
		"resolver.cache.entries":              func(c *Config) { c.Cache.Entries = 0 },
		"resolver.cache.max_ttl":              func(c *Config) { c.Cache.MaxTTL = config.Duration(48 * time.Hour) },
		"resolver.cache.failure_ttl":          func(c *Config) { c.Cache.FailureTTL = config.Duration(6 * time.Minute) },
		"resolver.timeouts.udp_first":         func(c *Config) { c.Timeouts.UDPFirst = 0 },
		"resolver.timeouts.tcp_total":         func(c *Config) { c.Timeouts.TCPTotal = config.Duration(time.Second) },
		"resolver.timeouts.lookup_per_server": func(c *Config) { c.Timeouts.LookupPerServer = config.Duration(time.Hour) },
	} {
		c := Default()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestNewRefusesABadConfiguration(t *testing.T) {
	c := Default()
	c.Transport = "quic"
	if _, err := New(t.Context(), c, environment(&lines{}, nil)); err == nil {
		t.Error("built")
	}
}

func TestServersOfTheSystem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	servers := func() []netip.AddrPort {
		all, err := systemServers(file)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	if got := servers(); !slices.Equal(got, local) {
		t.Errorf("without a file: %v", got)
	}
	write("# nothing\nsearch example.com\n")
	if got := servers(); !slices.Equal(got, local) {
		t.Errorf("without a server: %v", got)
	}
	write("; comment\nnameserver 192.0.2.1\n nameserver\t192.0.2.2 # second\nnameserver fe80::1%eth0\nnameserver not-an-address\nnameserver 192.0.2.1\nnameserver 192.0.2.3\nnameserver 192.0.2.4\noptions edns0\n")
	want := []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("[fe80::1%eth0]:53"),
		netip.MustParseAddrPort("192.0.2.3:53"), netip.MustParseAddrPort("192.0.2.4:53"),
	}
	if got := servers(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v: all of them, each once", got, want)
	}
	if _, err := systemServers(t.TempDir()); err == nil {
		t.Error("a directory was read as a file")
	}
}

func TestR39_TrustedServers(t *testing.T) {
	c := Default()
	c.TrustedServers = append(c.TrustedServers, "192.0.2.53", "2001:db8::/32")
	trusts := c.trusts()
	for text, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "192.0.2.53": true, "192.0.2.54": false, "2001:db8::1": true, "2001:db9::1": false,
	} {
		if got := trusts(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}
