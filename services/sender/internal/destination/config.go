// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/mailaddr"
)

// The values of Config.MaxSizeOf (RFC 3463, sections 3.3 and 3.4).
const (
	OfSystem  = "system"
	OfMailbox = "mailbox"
)

// The values of Config.TLS.
const (
	TLSOff           = "off"
	TLSOpportunistic = "opportunistic"
	TLSRequire       = "require"
	TLSVerify        = "verify"
)

// Config is one entry of sender.destinations. Empty fields leave the usual behaviour.
type Config struct {
	// Match is a domain, "*.domain" for those below it, "*" for all, or a site.
	Match string `yaml:"match" help:"Domain, *.domain for all below it, * for all, or a site: the names of its MX hosts, joined by commas. The most specific entry counts, alone."`
	// MaxSize is the largest message.
	MaxSize config.Size `yaml:"max_size" help:"Largest message; a larger one fails without any DNS or SMTP work. 0: no limit."`
	// MaxSizeOf is what the limit is stated to be that of: the system, or the mailbox.
	MaxSizeOf string `yaml:"max_size_of" help:"Whose limit max_size is stated to be in the notification: system (status 5.3.4) or mailbox (5.2.3). Empty: system."`
	// Connections is the most connections at once.
	Connections int `yaml:"connections" help:"Most connections at once. 0: the usual limit."`
	// Rate is the most messages a minute.
	Rate int `yaml:"rate" help:"Most messages a minute. 0: no limit."`
	// TLS is off, opportunistic, require or verify.
	TLS string `yaml:"tls" help:"off: never STARTTLS. opportunistic: without verification, whatever policy is published. require: STARTTLS or not at all. verify: with a certificate for the host. Empty: by the policies published."`
	// Smarthost takes the mail instead of the domain's MX.
	Smarthost Smarthost `yaml:"smarthost" help:"Host that takes the mail instead of the domain's MX."`
}

// Apart reports an entry that limits how fast mail goes to one domain, apart from other mail to the same hosts.
func (c Config) Apart() bool { return c.Match != "*" && (c.Connections > 0 || c.Rate > 0) }

// Smarthost is a host that takes the mail of a destination.
type Smarthost struct {
	// Host is a name, or a name or address in brackets for its addresses only.
	Host string `yaml:"host" help:"Name of the host, delivered to by its MX; in brackets by its addresses only. Empty: none."`
	// Port is dialled; 0 is sender.smtp_port.
	Port int `yaml:"port" help:"TCP port. 0: sender.smtp_port."`
	// Username is for AUTH (RFC 4954).
	Username string `yaml:"username" help:"User name for AUTH. Empty: no AUTH."`
	// PasswordFile holds the password.
	PasswordFile string `yaml:"password_file" help:"File with the password for AUTH. It is read for each attempt."`
	// InsecureAuth allows the credentials outside verified TLS.
	InsecureAuth bool `yaml:"insecure_auth" help:"Say user name and password also where TLS is not verified, or not in use. Otherwise they are said only to a host whose certificate carries the name in host."`
}

// Name is the host without brackets: the name its certificate must carry.
func (s Smarthost) Name() string { return strings.TrimSuffix(strings.TrimPrefix(s.Host, "["), "]") }

// Route is the smarthost as the resolver takes it: "[host]:port" or "host" with ":port" where one is set; empty without
// a smarthost.
func (s Smarthost) Route() string {
	if s.Host == "" || s.Port == 0 {
		return s.Host
	}
	return fmt.Sprintf("%s:%d", s.Host, s.Port)
}

// List is sender.destinations.
type List []Config

// Validate checks all entries; the keys named begin with sender.destinations.
func (l List) Validate() error {
	var f config.Faults
	seen := map[string]bool{}
	for i := range l {
		c, key := &l[i], fmt.Sprintf("sender.destinations[%d]", i)
		f.Check(matchable(c.Match), key+".match", "must be a domain, *.domain, * or a site, not %q", c.Match)
		f.Check(!seen[normal(c.Match)], key+".match", "stands in an entry before: %q", c.Match)
		seen[normal(c.Match)] = true
		f.Check(c.Connections >= 0 && c.Connections <= 1000, key+".connections", "must be between 0 and 1000, not %d", c.Connections)
		f.Check(c.Rate >= 0, key+".rate", "must not be negative, not %d", c.Rate)
		f.Check(c.MaxSizeOf == "" || c.MaxSizeOf == OfSystem || c.MaxSizeOf == OfMailbox, key+".max_size_of",
			"must be system or mailbox, not %q", c.MaxSizeOf)
		f.Check(c.MaxSizeOf == "" || c.MaxSize > 0, key+".max_size_of", "needs max_size")
		switch c.TLS {
		case "", TLSOff, TLSOpportunistic, TLSRequire, TLSVerify:
		default:
			f.Add(key+".tls", "must be off, opportunistic, require or verify, not %q", c.TLS)
		}
		c.Smarthost.check(&f, key+".smarthost")
		verified := c.TLS == "" || c.TLS == TLSVerify
		f.Check(verified || c.Smarthost.Username == "" || c.Smarthost.InsecureAuth, key+".tls",
			"must be verify, or empty, where smarthost.username is set and smarthost.insecure_auth is not")
	}
	return f.Err()
}

func (s Smarthost) check(f *config.Faults, key string) {
	if s.Host != "" {
		name := s.Name()
		bracketed := len(s.Host) == len(name)+2
		_, err := mailaddr.ToASCII(name)
		if _, ipErr := netip.ParseAddr(name); ipErr == nil && bracketed {
			err = nil
		}
		f.Check(err == nil && (bracketed || len(s.Host) == len(name)), key+".host",
			"must be a host name, or a name or address in brackets, not %q", s.Host)
	}
	f.Check(s.Port >= 0 && s.Port <= 65535, key+".port", "must be between 0 and 65535, not %d", s.Port)
	f.Check(s.Host != "" || (s.Port == 0 && s.Username == ""), key, "needs a host")
	f.Check((s.Username == "") == (s.PasswordFile == ""), key, "username and password_file must be given together")
}

// matchable reports a value that can match something.
func matchable(match string) bool {
	if match == "*" {
		return true
	}
	if hosts, isSite := siteHosts(match); isSite {
		return !slices.ContainsFunc(hosts, func(host string) bool { _, err := mailaddr.ToASCII(host); return err != nil })
	}
	name := strings.TrimPrefix(match, "*.")
	if _, ok := mailaddr.ParseLiteral(name); ok {
		return name == match
	}
	_, err := mailaddr.ToASCII(name)
	return err == nil
}

// siteHosts splits a site of several hosts. The digest at the end of a long site's name is not checked.
func siteHosts(match string) (hosts []string, ok bool) {
	names, _, _ := strings.Cut(match, "+")
	return strings.Split(names, ","), strings.Contains(match, ",")
}

// normal is the form in which domains and sites are compared.
func normal(match string) string {
	if hosts, isSite := siteHosts(match); isSite {
		_, digest, long := strings.Cut(match, "+")
		for i, host := range hosts {
			if ascii, err := mailaddr.ToASCII(host); err == nil {
				hosts[i] = ascii
			}
		}
		slices.Sort(hosts)
		name := strings.Join(hosts, ",")
		if long {
			name += "+" + strings.ToLower(digest)
		}
		return name
	}
	name, below := strings.CutPrefix(match, "*.")
	ascii, err := mailaddr.ToASCII(name)
	if err != nil {
		return strings.ToLower(match)
	}
	if below {
		return "*." + ascii
	}
	return ascii
}
