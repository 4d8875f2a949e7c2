// SPDX-License-Identifier: Apache-2.0

package route

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/postrider/postrider/services/resolver/internal/mxlookup"
)

// maxSite bounds a site's name in octets, since it becomes a label of metrics and part of keys.
const maxSite = 200

// site names a set of hosts: the same for all domains with the same hosts, whatever their order and preference. A long
// one is cut, with a digest of the whole in its place.
func site(targets []mxlookup.Target) string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.Host
	}
	slices.Sort(names)
	all := strings.Join(names, ",")
	if len(all) <= maxSite {
		return all
	}
	digest := sha256.Sum256([]byte(all))
	const kept = maxSite - 17
	head := all[:kept]
	if end := strings.LastIndexByte(head, ','); end > 0 {
		head = head[:end]
	}
	return head + "+" + hex.EncodeToString(digest[:8])
}
