// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// DefaultExtensions is what a host offers at EHLO when HostOptions.Extensions is nil: PIPELINING (RFC 2920), 8BITMIME
// (RFC 6152), SMTPUTF8 (RFC 6531), ENHANCEDSTATUSCODES (RFC 2034), DSN (RFC 3461), SIZE (RFC 1870).
func DefaultExtensions() []string {
	return []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "SIZE"}
}

// What a hook can return instead of a reply.
const (
	NoReply  = "\x00no reply" // say nothing more and hold the connection until the client closes it
	CloseNow = "\x00close"    // close without a reply
	ResetNow = "\x00reset"    // reset the connection (RST) without a reply
)

// HostOptions describes a receiving host. The zero value is a good host on 127.0.0.1, port 0. Hooks run in the
// connection's goroutine and may block; several connections call them at once. A hook that returns "" leaves the
// usual reply; otherwise it returns a whole reply, CRLF added when missing, or NoReply, CloseNow or ResetNow. After a
// reply 421 the host closes (RFC 5321, section 3.8).
type HostOptions struct {
	Name     string // in greeting and EHLO reply; default mx.example.test
	Greeting string // whole greeting, CRLF added when missing; default "220 <Name> ESMTP"

	// Extensions is the EHLO reply after the name; nil: DefaultExtensions; empty: none. STARTTLS is added when TLS is
	// set, and MaxSize becomes the parameter of SIZE.
	Extensions []string
	TLS        *tls.Config // certificate for STARTTLS; nil: not offered
	MaxSize    int64       // octets of a message; over it MAIL or the final dot is answered 552; 0: no limit

	ListenAddr string       // address and port, such as "127.0.0.2:0"; default "127.0.0.1:0"
	Listener   net.Listener // taken over by the host instead of ListenAddr

	SilentGreeting bool          // accept, then say nothing
	IdleTimeout    time.Duration // for each command and each piece of data; 421, then close; default 5 min

	DiscardBody bool // keep size and digest of a message, not its content
	CountOnly   bool // keep neither messages nor commands, only the numbers of Counts; OnDot still sees messages

	OnConnect  func(c *ConnInfo) string                    // the greeting
	OnHello    func(verb, name string) string              // EHLO and HELO
	OnMail     func(addr string, params []string) string   // MAIL
	OnRcpt     func(addr string, params []string) string   // RCPT
	OnData     func(from string, rcpts []Recipient) string // DATA; 354 or "": data is read
	DuringData func(from string, received int64) string    // a reply in the middle of data, at most one
	OnDot      func(m *Message) string                     // final dot
	// OnOther sees every other command before its usual meaning. ask sends a reply and reads the client's next line,
	// as AUTH needs it (RFC 4954, section 4).
	OnOther func(verb, arg string, ask func(reply string) (line string, ok bool)) string
}

// withDefaults fills what was left out.
func (o HostOptions) withDefaults() HostOptions {
	if o.Name == "" {
		o.Name = "mx.example.test"
	}
	if o.Greeting == "" {
		o.Greeting = "220 " + o.Name + " ESMTP"
	}
	if o.Extensions == nil {
		o.Extensions = DefaultExtensions()
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 5 * time.Minute
	}
	return o
}

// offered is the list of extensions of the EHLO reply.
func (o *HostOptions) offered(tlsOn bool) []string {
	list := slices.Clone(o.Extensions)
	for i, e := range list {
		if strings.EqualFold(e, "SIZE") && o.MaxSize > 0 {
			list[i] = fmt.Sprintf("SIZE %d", o.MaxSize)
		}
	}
	if o.TLS != nil && !tlsOn {
		list = append(list, "STARTTLS")
	}
	return list
}
