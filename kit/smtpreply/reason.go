// SPDX-License-Identifier: Apache-2.0

package smtpreply

// Reason is the machine-readable word for a decision. It stands in the attempt record, the span and the log, and never
// changes its meaning; an empty reason means that the remote's reply says all.
type Reason string

// Reasons of the resolver.
const (
	// ReasonNullMX is a domain that takes no mail (RFC 7505, section 3).
	ReasonNullMX Reason = "null_mx"
	// ReasonNoSuchDomain is NXDOMAIN for the recipient domain.
	ReasonNoSuchDomain Reason = "no_such_domain"
	// ReasonDNSTemp is SERVFAIL, REFUSED, a timeout or a malformed or lame answer from every server.
	ReasonDNSTemp Reason = "dns_temp"
	// ReasonNoAddress is a domain with neither MX nor address.
	ReasonNoAddress Reason = "no_address"
	// ReasonMXNoAddress is a domain all of whose MX hosts are without address.
	ReasonMXNoAddress Reason = "mx_no_address"
	// ReasonMXInvalid is a domain all of whose MX targets are no host names.
	ReasonMXInvalid Reason = "mx_invalid"
	// ReasonSpecialAddress is a host all of whose addresses are loopback, link-local, multicast or the like.
	ReasonSpecialAddress Reason = "special_address"
	// ReasonCNAMELoop is an alias chain that does not end in ten steps.
	ReasonCNAMELoop Reason = "cname_loop"
	// ReasonMXSelf is a domain whose best MX is ourselves (RFC 5321, section 5.1).
	ReasonMXSelf Reason = "mx_self"
	// ReasonDNSTCPBlocked is a truncated answer whose repetition over TCP was refused, reset or not answered.
	ReasonDNSTCPBlocked Reason = "dns_tcp_blocked"
	// ReasonDNSTCPUnavailable is a lookup that preferred TCP and had to go by UDP.
	ReasonDNSTCPUnavailable Reason = "dns_tcp_unavailable"
	// ReasonDNSBogus is an answer that does not pass DNSSEC validation (RFC 7672, section 2.1.1).
	ReasonDNSBogus Reason = "dns_bogus"
	// ReasonTLSALookup is a TLSA lookup that failed in a secure zone (RFC 7672, section 2.1.1).
	ReasonTLSALookup Reason = "tlsa_lookup"
	// ReasonMTASTSMismatch is an MX host the recipient domain's policy does not name (RFC 8461, section 5).
	ReasonMTASTSMismatch Reason = "mta_sts_mismatch"
	// ReasonBadDomain is a domain that is no domain name.
	ReasonBadDomain Reason = "bad_domain"
	// ReasonBadLiteral is an address literal that is none (RFC 5321, section 4.1.3).
	ReasonBadLiteral Reason = "bad_literal"
	// ReasonResolverUnavailable is a resolver service that does not answer.
	ReasonResolverUnavailable Reason = "resolver_unavailable"
)

// Reasons of the sender.
const (
	// ReasonConnect is a connect refused, unreachable or not answered in time.
	ReasonConnect Reason = "connect"
	// ReasonNoLocalRoute is an address this machine has no way to.
	ReasonNoLocalRoute Reason = "no_local_route"
	// ReasonNoGreeting is a handshake after which no greeting came.
	ReasonNoGreeting Reason = "no_greeting"
	// ReasonGreetingRefused is a 5yz greeting.
	ReasonGreetingRefused Reason = "greeting_refused"
	// ReasonTimeout is a reply, or progress of the data, that did not come in time.
	ReasonTimeout Reason = "timeout"
	// ReasonConnectionLost is a connection closed or reset by the remote.
	ReasonConnectionLost Reason = "connection_lost"
	// ReasonProtocol is something that is no SMTP reply, or one out of place.
	ReasonProtocol Reason = "protocol"
	// ReasonSelfSession is a host that answers EHLO with our own name.
	ReasonSelfSession Reason = "self_session"
	// ReasonAmbiguous is a final dot without a complete reply (RFC 1047).
	ReasonAmbiguous Reason = "ambiguous"
	// ReasonSiteDown is a site all of whose hosts failed several times running.
	ReasonSiteDown Reason = "site_down"
	// ReasonConnectionLimit is a destination with no free connection (S-74).
	ReasonConnectionLimit Reason = "connection_limit"
	// ReasonTooManyRecipients is a recipient put off to a further transaction (RFC 5321, section 4.5.3.1.10).
	ReasonTooManyRecipients Reason = "too_many_recipients"
	// ReasonSize is a message larger than a host or a configured limit takes.
	ReasonSize Reason = "size"
	// ReasonMailboxSize is a message larger than the configured limit of the mailbox.
	ReasonMailboxSize Reason = "mailbox_size"
	// ReasonEightBit is 8-bit content and no host that offers 8BITMIME (RFC 6152, section 3).
	ReasonEightBit Reason = "eight_bit"
	// ReasonSMTPUTF8 is a non-ASCII address or header and no host that offers SMTPUTF8 (RFC 6531, section 3.5).
	ReasonSMTPUTF8 Reason = "smtputf8"
	// ReasonLongLine is a line over 998 octets (RFC 5322, section 2.1.1).
	ReasonLongLine Reason = "long_line"
	// ReasonBinary is a binary body (RFC 3030).
	ReasonBinary Reason = "binary"
	// ReasonTLSInjection is input behind the 220 of STARTTLS (RFC 3207, section 6).
	ReasonTLSInjection Reason = "tls_injection"
	// ReasonTLSNotOffered is a policy that needs TLS and a host without STARTTLS.
	ReasonTLSNotOffered Reason = "tls_not_offered"
	// ReasonTLSFailed is a handshake that failed, or a certificate that does not satisfy the policy.
	ReasonTLSFailed Reason = "tls_failed"
	// ReasonRequireTLSPolicy is a REQUIRETLS message and a route without verified TLS (RFC 8689, section 4.2.1).
	ReasonRequireTLSPolicy Reason = "require_tls_policy"
	// ReasonRequireTLSKeyword is a REQUIRETLS message and no host that offers the keyword.
	ReasonRequireTLSKeyword Reason = "require_tls_keyword"
	// ReasonAuth is credentials a smarthost refused (RFC 4954, section 6).
	ReasonAuth Reason = "auth"
	// ReasonAuthMechanism is a smarthost without a mechanism we have.
	ReasonAuthMechanism Reason = "auth_mechanism"
)

// Reasons of the queue, the loop rules and the notifications.
const (
	// ReasonExpired is a recipient whose time is over.
	ReasonExpired Reason = "expired"
	// ReasonCancelled is mail an operator or its sender took back.
	ReasonCancelled Reason = "cancelled"
	// ReasonHeld is mail set aside by an operator.
	ReasonHeld Reason = "held"
	// ReasonSuspended is mail to a destination that an operator suspended.
	ReasonSuspended Reason = "suspended"
	// ReasonUndecodable is a stored entry that cannot be read.
	ReasonUndecodable Reason = "undecodable"
	// ReasonBodyMissing is a record whose content is gone from the body store.
	ReasonBodyMissing Reason = "body_missing"
	// ReasonHops is more Received fields than the limit (RFC 5321, section 6.3).
	ReasonHops Reason = "hops"
	// ReasonOwnTrace is our own trace header come back for the same recipient (L-04).
	ReasonOwnTrace Reason = "own_trace"
	// ReasonFingerprint is the same response seen too often (L-07).
	ReasonFingerprint Reason = "fingerprint"
	// ReasonNotifyThrottled is a notification held for the hourly summary (D-17).
	ReasonNotifyThrottled Reason = "notify_throttled"
	// ReasonShutdown is work given up because the process ends.
	ReasonShutdown Reason = "shutdown"
	// ReasonInternal is a fault of our own.
	ReasonInternal Reason = "internal"
)

// Status returns the enhanced code recorded for a failure of this reason without a reply. It is zero for reasons that
// have none of their own.
func (r Reason) Status() EnhancedCode {
	switch r {
	case ReasonNullMX:
		return Code(5, 1, 10)
	case ReasonNoSuchDomain, ReasonBadDomain:
		return Code(5, 1, 2)
	case ReasonBadLiteral:
		return Code(5, 1, 3)
	case ReasonNoAddress, ReasonMXNoAddress, ReasonMXInvalid, ReasonSpecialAddress:
		return Code(5, 4, 4)
	case ReasonMXSelf, ReasonHops, ReasonOwnTrace, ReasonFingerprint:
		return Code(5, 4, 6)
	case ReasonSize:
		return Code(5, 3, 4)
	case ReasonMailboxSize:
		return Code(5, 2, 3)
	case ReasonBinary:
		return Code(5, 6, 1)
	case ReasonEightBit:
		return Code(5, 6, 3)
	case ReasonSMTPUTF8:
		return Code(5, 6, 7)
	case ReasonLongLine:
		return Code(5, 6, 0)
	case ReasonRequireTLSPolicy:
		return Code(5, 7, 10)
	case ReasonRequireTLSKeyword:
		return Code(5, 7, 30)
	case ReasonCancelled:
		return Code(5, 7, 0)
	default:
		return r.transientStatus()
	}
}

// transientStatus is Status for the reasons a later attempt may cure.
func (r Reason) transientStatus() EnhancedCode {
	switch r {
	case ReasonDNSTemp, ReasonCNAMELoop, ReasonDNSTCPBlocked, ReasonDNSTCPUnavailable, ReasonDNSBogus,
		ReasonResolverUnavailable:
		return Code(4, 4, 3)
	case ReasonConnect, ReasonNoLocalRoute, ReasonSiteDown:
		return Code(4, 4, 1)
	case ReasonNoGreeting, ReasonTimeout, ReasonConnectionLost, ReasonAmbiguous:
		return Code(4, 4, 2)
	case ReasonConnectionLimit:
		return Code(4, 4, 5)
	case ReasonSelfSession:
		return Code(4, 4, 6)
	case ReasonExpired:
		return Code(4, 4, 7)
	case ReasonGreetingRefused:
		return Code(4, 3, 2)
	case ReasonProtocol:
		return Code(4, 5, 0)
	case ReasonTooManyRecipients:
		return Code(4, 5, 3)
	case ReasonAuthMechanism:
		return Code(4, 7, 0)
	case ReasonTLSNotOffered:
		return Code(4, 7, 4)
	case ReasonTLSInjection, ReasonTLSFailed, ReasonTLSALookup, ReasonMTASTSMismatch:
		return Code(4, 7, 5)
	case ReasonAuth:
		return Code(4, 7, 8)
	case ReasonShutdown, ReasonUndecodable, ReasonBodyMissing, ReasonInternal, ReasonHeld,
		ReasonSuspended:
		return Code(4, 3, 0)
	default:
		return EnhancedCode{}
	}
}
