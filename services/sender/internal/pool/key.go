// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// Key says which sessions are alike (S-71).
type Key struct {
	address netip.AddrPort
	source  netip.Addr
	ownName string
	mode    smtpclient.TLSMode
	word    string
	message bool
	server  string
	verify  string // names and TLSA records; empty where nothing is verified
	roots   *x509.CertPool
	user    string
	secret  [sha256.Size]byte
}

// KeyOf is the key of sessions opened with o.
func KeyOf(o *smtpclient.Options) Key {
	k := Key{
		address: o.Address, source: o.Source, ownName: o.OwnName,
		mode: o.TLS.Mode, word: o.TLS.Word, message: o.TLS.ForMessage, server: o.TLS.ServerName, roots: o.TLS.Roots,
	}
	if o.TLS.Mode >= smtpclient.TLSVerify {
		var b strings.Builder
		for _, name := range o.TLS.Names {
			fmt.Fprintf(&b, "%q,", name)
		}
		for _, r := range o.TLS.TLSA {
			fmt.Fprintf(&b, "%d %d %d %x,", r.Usage, r.Selector, r.MatchingType, r.Data)
		}
		k.verify = b.String()
	}
	if o.Auth != nil {
		k.user = fmt.Sprintf("%t %s", o.Auth.Insecure, o.Auth.Credentials.Username)
		k.secret = sha256.Sum256([]byte(o.Auth.Credentials.Password))
	}
	return k
}
