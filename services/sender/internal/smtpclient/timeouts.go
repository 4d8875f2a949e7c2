// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"time"

	"github.com/postrider/postrider/kit/config"
)

// maxContent bounds the time of one content whatever its size (S-08).
const maxContent = 2 * time.Hour

// Timeouts are the limits of the steps of a session. Each covers the whole reply, so that an octet now and then does
// not extend it. It is the section sender.timeouts of the configuration.
type Timeouts struct {
	// Connect is for the TCP connect, for each address (S-01).
	Connect config.Duration `yaml:"connect" help:"TCP connect, for each address."`
	// Greeting is for the greeting while another candidate is left in the attempt (S-02).
	Greeting config.Duration `yaml:"greeting" help:"Greeting of a host while another host or address is left to try in this attempt."`
	// GreetingLast is for the greeting of the last candidate (RFC 5321, section 4.5.3.2.1).
	GreetingLast config.Duration `yaml:"greeting_last" help:"Greeting of the last host or address of an attempt (RFC 5321, section 4.5.3.2.1)."`
	// Ehlo is for the reply to EHLO and HELO (S-03).
	Ehlo config.Duration `yaml:"ehlo" help:"Reply to EHLO or HELO."`
	// StartTLS is for the reply to STARTTLS (S-03).
	StartTLS config.Duration `yaml:"starttls" help:"Reply to STARTTLS."`
	// TLS is for the TLS handshake (S-03).
	TLS config.Duration `yaml:"tls" help:"TLS handshake."`
	// Mail is for the reply to MAIL (RFC 5321, section 4.5.3.2.2).
	Mail config.Duration `yaml:"mail" help:"Reply to MAIL (RFC 5321, section 4.5.3.2.2)."`
	// Rcpt is for the reply to each RCPT (RFC 5321, section 4.5.3.2.3).
	Rcpt config.Duration `yaml:"rcpt" help:"Reply to each RCPT (RFC 5321, section 4.5.3.2.3). The replies to MAIL, all RCPT and DATA together have the times of the three plus 10s each."`
	// Data is for the reply to DATA (RFC 5321, section 4.5.3.2.4).
	Data config.Duration `yaml:"data" help:"Reply to DATA (RFC 5321, section 4.5.3.2.4)."`
	// DataProgress is how long the host may take nothing of the content (RFC 5321, section 4.5.3.2.5).
	DataProgress config.Duration `yaml:"data_progress" help:"Content: longest time in which the host takes nothing of it (RFC 5321, section 4.5.3.2.5)."`
	// Dot is for the reply to the final dot (RFC 5321, section 4.5.3.2.6).
	Dot config.Duration `yaml:"dot" help:"Reply to the final dot (RFC 5321, section 4.5.3.2.6). Shorter times lead to mail delivered twice (RFC 1047)."`
	// Rset is for the reply to RSET and other replies nothing depends on (S-10).
	Rset config.Duration `yaml:"rset" help:"Reply to RSET."`
	// MinDataRate is the least rate of the content in bytes a second (S-08). It stands at sender.min_data_rate.
	MinDataRate config.Size `yaml:"-"`
}

// DefaultTimeouts returns the times of RFC 5321, section 4.5.3.2, with shorter ones for connect and for the greeting of
// a host that is not the last.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Connect:      config.Duration(30 * time.Second),
		Greeting:     config.Duration(time.Minute),
		GreetingLast: config.Duration(5 * time.Minute),
		Ehlo:         config.Duration(5 * time.Minute),
		StartTLS:     config.Duration(5 * time.Minute),
		TLS:          config.Duration(time.Minute),
		Mail:         config.Duration(5 * time.Minute),
		Rcpt:         config.Duration(5 * time.Minute),
		Data:         config.Duration(2 * time.Minute),
		DataProgress: config.Duration(3 * time.Minute),
		Dot:          config.Duration(10 * time.Minute),
		Rset:         config.Duration(20 * time.Second),
		MinDataRate:  8 * config.KiB,
	}
}

// Validate checks that every time lies between 100 ms and an hour; the keys named begin with sender.timeouts.
func (t *Timeouts) Validate() error {
	var f config.Faults
	for key, d := range map[string]config.Duration{
		"connect": t.Connect, "greeting": t.Greeting, "greeting_last": t.GreetingLast, "ehlo": t.Ehlo, "starttls": t.StartTLS,
		"tls": t.TLS, "mail": t.Mail, "rcpt": t.Rcpt, "data": t.Data, "data_progress": t.DataProgress, "dot": t.Dot,
		"rset": t.Rset,
	} {
		f.Between("sender.timeouts."+key, d, 100*time.Millisecond, time.Hour)
	}
	f.Check(t.MinDataRate >= 1, "sender.min_data_rate", "must be at least 1 byte a second, not %s", t.MinDataRate)
	return f.Err()
}

// content is the time for a whole content of size octets (S-08).
func (t *Timeouts) content(size int64) time.Duration {
	atRate := time.Duration(float64(size) / float64(t.MinDataRate) * float64(time.Second))
	return min(t.DataProgress.Std()+atRate, maxContent)
}
