// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"

	"go.opentelemetry.io/otel/trace"

	"github.com/postrider/postrider/services/sender/internal/sasl"
)

// Options say how to open a session.
type Options struct {
	// Address is dialled.
	Address netip.AddrPort
	// Source is the local address; invalid: the kernel's choice.
	Source netip.Addr
	// Hostname is the argument of EHLO (S-20); empty: the address literal of the local address.
	Hostname string
	// OwnName is the name a host may not have in its EHLO reply (S-19); empty: the rule is off.
	OwnName string
	// TLS is the policy.
	TLS TLSPolicy
	// Timeouts are the limits of the steps.
	Timeouts Timeouts
	// Auth authenticates after TLS (RFC 4954); nil: whatever the host offers, nobody authenticates (S-25).
	Auth *Auth
	// LastCandidate chooses GreetingLast instead of Greeting (S-02).
	LastCandidate bool
	// Dial opens the connection; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Observe is told of each step when it is over; nil: nobody is told. It is called from within Dial and Ask.
	Observe func(Observation)
	// Open is told +1 when a connection is open and -1 when it is closed (O-04); nil: nobody is told.
	Open func(delta int)
	// Tracer makes the spans of the steps under the span of the context; nil: none.
	Tracer trace.Tracer
}

// Auth is what a smarthost is shown.
type Auth struct {
	// Credentials are said by the best mechanism in common.
	Credentials sasl.Credentials
	// Insecure allows them outside verified TLS (S-43).
	Insecure bool
}

// TLSMode is what TLS must satisfy.
type TLSMode int

// The modes, from the weakest.
const (
	// TLSOff never sends STARTTLS.
	TLSOff TLSMode = iota
	// TLSOpportunistic uses STARTTLS when it is offered and verifies nothing (RFC 7435).
	TLSOpportunistic
	// TLSRequire demands STARTTLS and verifies nothing.
	TLSRequire
	// TLSVerify demands STARTTLS, a PKIX chain and one of Names (RFC 8461, section 4.2).
	TLSVerify
	// TLSDane demands STARTTLS and a certificate that matches TLSA (RFC 7672).
	TLSDane
)

// TLSPolicy is the policy of one session.
type TLSPolicy struct {
	// Mode is the demand.
	Mode TLSMode
	// Word is the policy as it is recorded: none, opportunistic, require, verify, mta-sts, dane, requiretls.
	Word string
	// ForMessage says that the message itself demands TLS (RFC 8689), so that a host without STARTTLS lacks what the
	// message needs.
	ForMessage bool
	// ServerName is sent as SNI; empty: none.
	ServerName string
	// Names are the names of which the certificate must carry one, for TLSVerify and for usage 2 of TLSDane.
	Names []string
	// TLSA are the usable records, for TLSDane.
	TLSA []TLSA
	// Roots are trusted for TLSVerify; nil: the system's.
	Roots *x509.CertPool
	// Sessions keeps the TLS session for resumption, whatever name it is asked for; nil: none is kept. It must not be
	// shared with another policy or host.
	Sessions tls.ClientSessionCache
}

// required reports that a session without TLS is of no use.
func (p *TLSPolicy) required() bool { return p.Mode >= TLSRequire }

// TLSA is a TLSA record (RFC 6698, section 2.1) with usage 2 or 3.
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}
