// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/config"
)

func TestDefaultIsValid(t *testing.T) {
	cfg := Default()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.ListenAddress() != cfg.Listen || cfg.TokensFile() != "" || !cfg.UsesNATS() || cfg.MaxReturnedSize.Bytes() != 50<<10 {
		t.Errorf("%+v", cfg)
	}
}

func TestValidateNamesEachKey(t *testing.T) {
	tests := map[string]func(*Config){
		"dsn.listen":                 func(c *Config) { c.Listen = "nowhere" },
		"dsn.gateway_address":        func(c *Config) { c.GatewayAddress = "localhost" },
		"dsn.from":                   func(c *Config) { c.From = "a@b" },
		"dsn.max_returned_size":      func(c *Config) { c.MaxReturnedSize = 2 * config.MiB },
		"dsn.concurrency":            func(c *Config) { c.Concurrency = 0 },
		"dsn.submit_timeout":         func(c *Config) { c.SubmitTimeout = 0 },
		"dsn.throttle.per_sender":    func(c *Config) { c.Throttle.PerSender = -1 },
		"dsn.throttle.per_domain":    func(c *Config) { c.Throttle.PerDomain = -1 },
		"dsn.throttle.per_recipient": func(c *Config) { c.Throttle.PerRecipient = -1 },
		"dsn.throttle.window":        func(c *Config) { c.Throttle.Window = config.Duration(1500 * time.Millisecond) },
		"dsn.postmaster":             func(c *Config) { c.Postmaster = "postmaster" },
	}
	all := Default()
	for key, change := range tests {
		cfg := Default()
		change(&cfg)
		change(&all)
		err := cfg.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), key+":") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := all.Validate(); err == nil || strings.Count(err.Error(), "\n") != len(tests)-1 {
		t.Errorf("all at once: %v", err)
	}
}

func TestFromIsAPlainLocalPart(t *testing.T) {
	for from, ok := range map[string]bool{
		"MAILER-DAEMON": true, "postmaster": true, "mail.daemon+x": true,
		"": false, "a b": false, `"a b"`: false, "a\r\nb": false, "\u00fc": false, "a>": false, "a@b": false,
	} {
		cfg := Default()
		cfg.From = from
		if err := cfg.Validate(); (err == nil) != ok {
			t.Errorf("from %q: %v", from, err)
		}
	}
}

func TestConfigIsReadFromItsSection(t *testing.T) {
	root := struct {
		DSN Config `yaml:"dsn"`
	}{Default()}
	text := "dsn:\n  from: postmaster\n  max_returned_size: 10KiB\n  submit_timeout: 5s\n"
	if err := config.Decode([]byte(text), "x.yaml", &root); err != nil {
		t.Fatal(err)
	}
	cfg := root.DSN
	if cfg.From != "postmaster" || cfg.MaxReturnedSize != 10*config.KiB || cfg.Concurrency != Default().Concurrency {
		t.Errorf("%+v", cfg)
	}
	if err := config.Decode([]byte("dsn:\n  form: x\n"), "x.yaml", &root); err == nil || !strings.Contains(err.Error(), "form") {
		t.Errorf("unknown key: %v", err)
	}
}
