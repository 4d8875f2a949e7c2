// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/services/gateway/internal/content"
)

// file is a configuration file with this section alone.
type file struct {
	Gateway Config `yaml:"gateway"`
}

func TestDefaultIsValidAndReadsBack(t *testing.T) {
	cfg := Default()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := config.PrintSections(&out, config.Section{Name: "gateway", Value: &cfg}); err != nil {
		t.Fatal(err)
	}
	var read file
	if err := config.Decode(out.Bytes(), "printed", &read); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", read.Gateway) != fmt.Sprintf("%+v", cfg) {
		t.Errorf("read back %+v, printed %+v", read.Gateway, cfg)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"gateway.listen":           func(c *Config) { c.Listen = "9925" },
		"gateway.max_message_size": func(c *Config) { c.MaxMessageSize = 10 },
		"gateway.bare_newlines":    func(c *Config) { c.BareNewlines = "fix" },
		"gateway.long_lines":       func(c *Config) { c.LongLines = "cut" },
		"gateway.max_hops":         func(c *Config) { c.MaxHops = 0 },
		"gateway.queue_limit":      func(c *Config) { c.QueueLimit = 5 },
		"gateway.smtp_listen":      func(c *Config) { c.SMTPListen = "127.0.0.1:2525" },
		"gateway.smtp_tls":         func(c *Config) { c.SMTPTLS.CertFile = "x" },

		"gateway.smtp_max_connections":              func(c *Config) { c.SMTPMaxConnections = 0 },
		"gateway.smtp_trusted_networks[0]":          func(c *Config) { c.SMTPTrustedNetworks = []string{"example"} },
		"gateway.smtp_listen: must be host:port":    smtpAt("25"),
		"gateway.smtp_listen: must have an IP":      smtpAt("mx.example.com:25"),
		"gateway.smtp_listen: nobody could hand in": func(c *Config) { c.SMTPListen, c.Tokens = ":25", "tokens.yaml" },
	} {
		cfg := Default()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// smtpAt listens for SMTP and takes mail of this machine.
func smtpAt(address string) func(*Config) {
	return func(c *Config) { c.SMTPListen, c.SMTPTrustedNetworks = address, []string{"127.0.0.1"} }
}

func TestSMTPListenIsTakenWhenSomebodyCanUseIt(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"trusted": smtpAt("127.0.0.1:2525"), "every address": smtpAt(":25"), "IPv6": smtpAt("[::1]:25"),
		"tokens": func(c *Config) {
			c.SMTPListen, c.Tokens, c.SMTPTLS = "192.0.2.1:587", "tokens.yaml", SMTPTLS{"cert.pem", "key.pem"}
		},
	} {
		cfg := Default()
		change(&cfg)
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownKeyIsRefused(t *testing.T) {
	err := config.Decode([]byte("gateway:\n  rebuild_view: true\n"), "gateway.yaml", &file{Default()})
	if err == nil || !strings.Contains(err.Error(), "rebuild_view") || !strings.Contains(err.Error(), "gateway.yaml") {
		t.Errorf("err = %v", err)
	}
}

func TestRulesAndLimits(t *testing.T) {
	cfg := Default()
	cfg.MaxMessageSize, cfg.BareNewlines, cfg.LongLines = config.MiB, "normalise", "fold"
	rules := cfg.rules()
	if rules.MaxSize != 1<<20 || rules.Newlines != content.Normalise || rules.LongLines != content.Fold || rules.MaxLine != 998 {
		t.Errorf("rules %+v", rules)
	}
	if got := cfg.queueLimit(10 * config.GiB); got != (10<<30)/100*60 {
		t.Errorf("60 %% of 10 GiB is %d", got)
	}
	cfg.QueueLimit = config.MiB
	if got := cfg.queueLimit(10 * config.GiB); got != 1<<20 {
		t.Errorf("queue limit %d", got)
	}
}
