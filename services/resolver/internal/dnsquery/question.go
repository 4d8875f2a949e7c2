// SPDX-License-Identifier: Apache-2.0

package dnsquery

import (
	"context"
	"strconv"
)

// Type is a DNS record type (RFC 1035, section 3.2.2).
type Type uint16

// The types the resolver asks for.
const (
	TypeA      Type = 1
	TypeNS     Type = 2
	TypeCNAME  Type = 5
	TypeMX     Type = 15
	TypeTXT    Type = 16
	TypeAAAA   Type = 28
	TypeDNSKEY Type = 48
	TypeTLSA   Type = 52
)

// String returns the mnemonic, or TYPEnnn (RFC 3597, section 5).
func (t Type) String() string {
	switch t {
	case TypeA:
		return "A"
	case TypeNS:
		return "NS"
	case TypeCNAME:
		return "CNAME"
	case TypeMX:
		return "MX"
	case TypeTXT:
		return "TXT"
	case TypeAAAA:
		return "AAAA"
	case TypeDNSKEY:
		return "DNSKEY"
	case TypeTLSA:
		return "TLSA"
	default:
		return "TYPE" + strconv.Itoa(int(t))
	}
}

// Question is what is asked, always in class IN.
type Question struct {
	// Name is the owner name.
	Name string
	// Type is the record type.
	Type Type
	// Fresh asks the servers even when an answer or a failure is remembered.
	Fresh bool
}

// String returns "MX example.com".
func (q Question) String() string {
	name := q.Name
	if name == "" {
		name = "."
	}
	return q.Type.String() + " " + name
}

// Querier answers questions. The error is a *Failure, or that of ctx when the caller gave up first. An Answer is shared
// and must not be changed.
type Querier interface {
	Query(ctx context.Context, q Question) (*Answer, error)
}
