// SPDX-License-Identifier: Apache-2.0

package mailaddr

import "github.com/postrider/postrider/kit/smtpreply"

// Reason is the machine-readable word for what is wrong with an address.
type Reason string

// Reasons of a ParseError.
const (
	// ReasonEmpty is an empty string, local part or domain.
	ReasonEmpty Reason = "address_empty"
	// ReasonControl is CR, LF, NUL or another control character, or bytes that are not UTF-8 (G-02).
	ReasonControl Reason = "address_control"
	// ReasonTooLong is a local part, domain or path over its limit (RFC 5321, section 4.5.3.1).
	ReasonTooLong Reason = "address_too_long"
	// ReasonLocal is a local part that is neither a dot-string nor a quoted string.
	ReasonLocal Reason = "address_local"
	// ReasonNoDomain is an address without "@".
	ReasonNoDomain Reason = "address_no_domain"
	// ReasonSourceRoute is a source route, "@a,@b:user@example.com" (RFC 5321, appendix C).
	ReasonSourceRoute Reason = "address_source_route"
	// ReasonPort is a port behind the domain.
	ReasonPort Reason = "address_port"
	// ReasonBrackets is angle brackets, a display name or a comment around the address.
	ReasonBrackets Reason = "address_brackets"
	// ReasonDomain is a domain that is no domain name.
	ReasonDomain Reason = "address_domain"
	// ReasonLiteral is an address literal that is none.
	ReasonLiteral Reason = "address_literal"
)

// ParseError says why a string is not an envelope address. It never holds the address itself, so that it may be logged
// and answered.
type ParseError struct {
	// Reason is the machine-readable word.
	Reason Reason
	// Enhanced is the code for a recipient: 5.1.3, or 5.1.2 when the domain is at fault (RFC 3463, section 3.2).
	Enhanced smtpreply.EnhancedCode
	// Detail is a plain sentence.
	Detail string
}

// Error returns the plain sentence.
func (e *ParseError) Error() string { return e.Detail }

// SenderEnhanced returns the code for the same fault in an envelope sender: 5.1.7, or 5.1.8 when the domain is at fault
// (RFC 3463, section 3.2).
func (e *ParseError) SenderEnhanced() smtpreply.EnhancedCode {
	if e.Enhanced == smtpreply.Code(5, 1, 2) {
		return smtpreply.Code(5, 1, 8)
	}
	return smtpreply.Code(5, 1, 7)
}

func fault(reason Reason, detail string) *ParseError {
	code := smtpreply.Code(5, 1, 3)
	if reason == ReasonDomain {
		code = smtpreply.Code(5, 1, 2)
	}
	return &ParseError{Reason: reason, Enhanced: code, Detail: detail}
}
