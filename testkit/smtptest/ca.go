// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"
)

// Validity of certificates unless CertOptions says otherwise: wide enough for a testing/synctest bubble, whose clock
// starts in the year 2000.
var (
	validFrom  = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// CA is a certificate authority that only a test trusts.
type CA struct {
	// Certificate is the self-signed root.
	Certificate *x509.Certificate

	key *ecdsa.PrivateKey
}

// CertOptions describes a server certificate.
type CertOptions struct {
	Names     []string  // DNS names, the first also as common name; IP addresses are told apart
	NotBefore time.Time // zero: 1990
	NotAfter  time.Time // zero: 2100
}

// NewCA makes a CA for a test.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	ca, err := GenerateCA()
	if err != nil {
		tb.Fatalf("smtptest: %v", err)
	}
	return ca
}

// GenerateCA makes a CA.
func GenerateCA() (*CA, error) {
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "smtptest CA"},
		NotBefore:             validFrom,
		NotAfter:              validUntil,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	ca := new(CA)
	cert, key, err := ca.sign(tmpl)
	if err != nil {
		return nil, err
	}
	return &CA{Certificate: cert, key: key}, nil
}

// sign makes a key and a certificate for it; a CA that is still empty signs itself.
func (ca *CA) sign(tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate a key: %w", err)
	}
	tmpl.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("generate a serial number: %w", err)
	}
	parent, signer := ca.Certificate, ca.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("create a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// Issue makes a server certificate; the chain holds the root as well, as DANE-TA needs it (RFC 7672, section 3.1.2).
func (ca *CA) Issue(o CertOptions) (tls.Certificate, error) {
	tmpl := &x509.Certificate{
		NotBefore:   validFrom,
		NotAfter:    validUntil,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if !o.NotBefore.IsZero() {
		tmpl.NotBefore = o.NotBefore
	}
	if !o.NotAfter.IsZero() {
		tmpl.NotAfter = o.NotAfter
	}
	for _, n := range o.Names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	if len(o.Names) > 0 {
		tmpl.Subject.CommonName = o.Names[0]
	}
	cert, key, err := ca.sign(tmpl)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("smtptest: certificate for %q: %w", o.Names, err)
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw, ca.Certificate.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// ServerConfig is a TLS configuration for a server of these names. It panics when the system gives no random numbers.
func (ca *CA) ServerConfig(names ...string) *tls.Config {
	cert, err := ca.Issue(CertOptions{Names: names})
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// Pool holds the root alone, for a client that shall trust this CA.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	return pool
}

// PEM is the root in PEM form, for a file that SSL_CERT_FILE names.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw})
}
