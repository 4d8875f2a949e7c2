// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/postrider/postrider/kit/config"
)

// ServerTLS returns the TLS configuration of a server, nil when the section names no certificate.
func ServerTLS(files config.TLS) (*tls.Config, error) {
	if files.CertFile == "" {
		return nil, nil //nolint:nilnil // no certificate means no TLS
	}
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// ClientTLS returns the TLS configuration of a client, nil when the section names no authorities. The certificate, where
// there is one, is shown to servers that ask for it.
func ClientTLS(files config.TLS) (*tls.Config, error) {
	if files.CAFile == "" {
		return nil, nil //nolint:nilnil // no authorities means no TLS
	}
	bundle, err := os.ReadFile(files.CAFile)
	if err != nil {
		return nil, fmt.Errorf("load TLS authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, fmt.Errorf("load TLS authorities: %s holds no PEM certificate", files.CAFile)
	}
	c := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if files.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load TLS certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
