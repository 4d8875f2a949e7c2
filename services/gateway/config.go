// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/smtplisten"
)

// Config is the section gateway.
type Config struct {
	// Listen is the gRPC address.
	Listen string `yaml:"listen" help:"host:port of gRPC. Without tokens_file only a loopback address is allowed."`
	// Tokens names the callers.
	Tokens string `yaml:"tokens_file" help:"YAML list of name, sha256 (of the bearer token, hexadecimal) and rights (submit, null_sender, operator). Empty: everybody on loopback may do everything."`
	// MaxMessageSize bounds a message's content.
	MaxMessageSize config.Size `yaml:"max_message_size" help:"Largest message content as submitted, with CRLF line endings (RFC 1870). One request takes 4MiB at most, larger ones are streamed."`
	// BareNewlines is reject or normalise.
	BareNewlines string `yaml:"bare_newlines" help:"Bare CR or LF in a content: reject refuses the message, normalise turns each into CRLF (RFC 5321, section 2.3.8)."`
	// LongLines is refuse or fold.
	LongLines string `yaml:"long_lines" help:"A line over 998 bytes: refuse refuses the message, fold folds header lines at white space; body lines are never cut (RFC 5322, section 2.1.1)."`
	// MaxHops is the most Received fields, and the highest hop number.
	MaxHops int `yaml:"max_hops" help:"Most Received fields in a submitted message, and the highest hop number of our own trace header; more is a loop (RFC 5321, section 6.3)."`
	// Loop are the limits of equal messages.
	Loop Loop `yaml:"loop" help:"Equal messages within an hour: the same envelope recipients, From, Subject and text but for digits, dates, ids, white space and case (addresses count as they stand)."`
	// TraceKeyFile holds the key of the trace header.
	TraceKeyFile string `yaml:"trace_key_file" help:"File with 64 hexadecimal digits: the key Postrider-Trace headers are sealed with, the same for all gateways. Empty: a random one, kept in the queue's key-value store and shared through it."`
	// QueueLimit bounds what waits in the queue.
	QueueLimit config.Size `yaml:"queue_limit" help:"Most bytes that may wait in the queue; beyond it nothing is accepted. 0: 60 % of nats.max_store."`
	// ViewDir is where the status view lies.
	ViewDir string `yaml:"view_dir" help:"Folder of the status view, a SQLite file that is folded anew from the queue when it is missing. One folder for each gateway. Empty: nats.data_dir."`
	// SMTPListen is where mail is taken by SMTP.
	SMTPListen string `yaml:"smtp_listen" help:"address:port on which mail is taken by SMTP, under the same rules as over gRPC. Empty: no SMTP."`
	// SMTPTLS is the certificate for STARTTLS.
	SMTPTLS SMTPTLS `yaml:"smtp_tls" help:"Certificate for STARTTLS on smtp_listen. AUTH (user: a token's name, password: the token) is offered inside TLS only."`
	// SMTPTrustedNetworks may relay without TLS and AUTH.
	SMTPTrustedNetworks []string `yaml:"smtp_trusted_networks" help:"Addresses or networks whose hosts may hand in mail by SMTP without TLS and AUTH, also with the null sender. Their mail is taken as a relay's: without From, with several Date or Message-ID, with long lines."`
	// SMTPMaxConnections bounds SMTP sessions.
	SMTPMaxConnections int `yaml:"smtp_max_connections" help:"Most SMTP sessions at once. One address that is not trusted may have a tenth of them, and no fewer than 2."`

	// RebuildView folds the status view anew at the start. It is set by the command line only.
	RebuildView bool `yaml:"-"`
}

// Loop are the limits of equal messages within an hour (L-07).
type Loop struct {
	// EqualResponses is the most that is no loop.
	EqualResponses int `yaml:"equal_responses" help:"Most equal responses (null sender, Auto-Submitted: auto-replied, or multipart/report, handed on from elsewhere); one more is refused as a loop. Counted by all gateways of the queue together."`
	// ReportEqual is from when on ordinary messages are told of.
	ReportEqual int `yaml:"report_equal" help:"Number of equal ordinary messages within an hour from which on the log and the metrics tell of them."`
	// HoldOrdinary says that those are held.
	HoldOrdinary bool `yaml:"hold_ordinary" help:"Hold the ordinary messages that report_equal tells of, until an operator releases them. Otherwise they are delivered."`
}

// SMTPTLS names the files of a certificate.
type SMTPTLS struct {
	// CertFile is a PEM certificate chain, KeyFile its private key.
	CertFile string `yaml:"cert_file" help:"PEM file with the certificate chain. Empty: neither STARTTLS nor AUTH."`
	KeyFile  string `yaml:"key_file" help:"PEM file with the private key of cert_file."`
}

// Default returns a gateway on loopback with the limits of behaviour.md.
func Default() Config {
	return Config{
		Listen:         "127.0.0.1:9925",
		MaxMessageSize: 50 * config.MiB,
		BareNewlines:   string(content.Reject),
		LongLines:      string(content.Refuse),
		MaxHops:        100,
		Loop:           Loop{EqualResponses: 5, ReportEqual: 50},

		SMTPMaxConnections: smtplisten.DefaultConnections,
	}
}

// Limits of the configuration.
const (
	minMessageSize = 1 * config.KiB
	maxMessageSize = 1 * config.GiB
)

// Validate names every key at fault.
func (c *Config) Validate() error {
	var f config.Faults
	f.Listen("gateway.listen", c.Listen)
	f.Check(c.MaxMessageSize >= minMessageSize && c.MaxMessageSize <= maxMessageSize, "gateway.max_message_size",
		"must be between %s and %s, not %s", minMessageSize, maxMessageSize, c.MaxMessageSize)
	newlines := content.Newlines(c.BareNewlines)
	f.Check(newlines == content.Reject || newlines == content.Normalise, "gateway.bare_newlines",
		"must be reject or normalise, not %q", c.BareNewlines)
	lines := content.LongLines(c.LongLines)
	f.Check(lines == content.Refuse || lines == content.Fold, "gateway.long_lines", "must be refuse or fold, not %q", c.LongLines)
	f.Check(c.MaxHops >= 10 && c.MaxHops <= 1000, "gateway.max_hops", "must be between 10 and 1000, not %d", c.MaxHops)
	f.Check(c.Loop.EqualResponses >= 1 && c.Loop.EqualResponses <= 1000, "gateway.loop.equal_responses",
		"must be between 1 and 1000, not %d", c.Loop.EqualResponses)
	f.Check(c.Loop.ReportEqual >= 2 && c.Loop.ReportEqual <= 65_000, "gateway.loop.report_equal",
		"must be between 2 and 65000, not %d", c.Loop.ReportEqual)
	f.Check(c.QueueLimit == 0 || c.QueueLimit >= config.MiB, "gateway.queue_limit", "must be 0 or at least 1MiB, not %s", c.QueueLimit)
	c.validateSMTP(&f)
	return f.Err()
}

// ListenAddress returns the gRPC address (kit/runner).
func (c *Config) ListenAddress() string { return c.Listen }

// TokensFile returns the file of callers, "" for none (kit/runner).
func (c *Config) TokensFile() string { return c.Tokens }

// UsesNATS says that the service cannot work without the queue (kit/runner).
func (c *Config) UsesNATS() bool { return true }

// rules returns the limits of a content.
func (c *Config) rules() content.Rules {
	rules := content.DefaultRules()
	rules.MaxSize = c.MaxMessageSize.Bytes()
	rules.Newlines, rules.LongLines = content.Newlines(c.BareNewlines), content.LongLines(c.LongLines)
	return rules
}

// queueLimit returns gateway.queue_limit with 0 resolved.
func (c *Config) queueLimit(store config.Size) int64 {
	if c.QueueLimit > 0 {
		return c.QueueLimit.Bytes()
	}
	return store.Bytes() / 100 * 60
}
