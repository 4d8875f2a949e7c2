// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"

	"github.com/postrider/postrider/kit/mailaddr"
)

// LocalName is the name of this node in header fields and notifications: node.name, else the host's own name, else
// localhost. It is never empty, and not what EHLO says when node.name is empty (RFC 5321, section 4.1.1.1).
func (n Node) LocalName() string {
	if n.Name != "" {
		return n.Name
	}
	if host, err := os.Hostname(); err == nil && mailaddr.CheckHost(host) == nil {
		return host
	}
	return "localhost"
}
