// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
)

// errNoTLSAMatch is a chain that no TLSA record vouches for.
var errNoTLSAMatch = errors.New("no TLSA record matches")

// Certificate usages of RFC 7218 that SMTP has (RFC 7672, section 3.1).
const (
	usageTA = 2
	usageEE = 3
)

// verifyDane checks a chain against TLSA records (RFC 7672, section 3). Usage 3 vouches for the host's own certificate,
// whatever its name and dates (section 3.1.1). Usage 2 vouches for an authority of the chain, below which chain, dates
// and name are checked (section 3.1.2); the authority must be in the chain the host sends.
func verifyDane(chain []*x509.Certificate, records []TLSA, names []string) error {
	if len(chain) == 0 {
		return errNoTLSAMatch
	}
	last := errNoTLSAMatch
	for _, record := range records {
		switch record.Usage {
		case usageEE:
			if record.matches(chain[0]) {
				return nil
			}
		case usageTA:
			err := record.anchors(chain, names)
			if err == nil {
				return nil
			}
			if !errors.Is(err, errNoTLSAMatch) {
				last = err
			}
		}
	}
	return last
}

// anchors verifies the chain up to a certificate that the record matches.
func (t *TLSA) anchors(chain []*x509.Certificate, names []string) error {
	err := errNoTLSAMatch
	for _, cert := range chain {
		if !t.matches(cert) {
			continue
		}
		anchor := x509.NewCertPool()
		anchor.AddCert(cert)
		if err = verifyNames(chain, anchor, names); err == nil {
			return nil
		}
	}
	return err
}

// matches compares the part of the certificate that the selector names, as the matching type says (RFC 6698,
// sections 2.1.2 and 2.1.3).
func (t *TLSA) matches(cert *x509.Certificate) bool {
	var part []byte
	switch t.Selector {
	case 0:
		part = cert.Raw
	case 1:
		part = cert.RawSubjectPublicKeyInfo
	default:
		return false
	}
	switch t.MatchingType {
	case 0:
		return bytes.Equal(part, t.Data)
	case 1:
		sum := sha256.Sum256(part)
		return bytes.Equal(sum[:], t.Data)
	case 2:
		sum := sha512.Sum512(part)
		return bytes.Equal(sum[:], t.Data)
	default:
		return false
	}
}
