// SPDX-License-Identifier: Apache-2.0

package join

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	// maxLines is how many recipients one list tells of (rule D-17).
	maxLines = 1000
	// shards is into how many parts a window can be cut so that not all of it is held at once. Who is told is in one
	// shard, and shards are told in their order, however many at once.
	shards = 256
)

// List is one message to one person.
type List struct {
	// Key is its idempotency key: "dsn/list/" and ID. ID is a hash over what is told.
	Key, ID string
	// To is who is told; RequireTLS that the message has to travel like a REQUIRETLS original.
	To         string
	RequireTLS bool
	Tenant     string
	// Entries are what is told: at most 1,000 recipients.
	Entries []Entry
	// Part is the number of this list, from 1, among Parts of them, which tell of Total recipients.
	Part, Parts, Total int
	// Due is the end of the window.
	Due time.Time
}

// Entry is one recipient of one notification.
type Entry struct {
	Notice    *eventv1.JoinedNotice
	Recipient *eventv1.JoinedRecipient
}

// person is who is told in the same lists.
type person struct {
	shard      uint32
	to, tenant string
	requireTLS bool
}

func personOf(n *eventv1.JoinedNotice) person {
	return person{shard: shardOf(n.GetTo()), to: n.GetTo(), tenant: n.GetTenant(), requireTLS: n.GetRequireTls()}
}

func shardOf(to string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(to))
	return h.Sum32() % shards
}

func (p person) compare(other person) int {
	return cmp.Or(cmp.Compare(p.shard, other.shard), cmp.Compare(p.to, other.to), cmp.Compare(p.tenant, other.tenant),
		cmp.Compare(boolean(p.requireTLS), boolean(other.requireTLS)))
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// domain is the domain of who is told.
func (p person) domain() string {
	return strings.ToLower(p.to[strings.LastIndexByte(p.to, '@')+1:])
}

// listsOf makes the lists of one person: what was stored twice stands there once, and their order and keys depend on
// nothing but what is told.
func listsOf(p person, due time.Time, entries []Entry) []List {
	slices.SortFunc(entries, Entry.compare)
	entries = slices.CompactFunc(entries, func(a, b Entry) bool { return a.compare(b) == 0 })
	parts := slices.Collect(slices.Chunk(entries, maxLines))
	all := make([]List, 0, len(parts))
	for i, part := range parts {
		id := fingerprint(p, part)
		all = append(all, List{
			Key: "dsn/list/" + id, ID: id, To: p.to, RequireTLS: p.requireTLS, Tenant: p.tenant,
			Entries: part, Part: i + 1, Parts: len(parts), Total: len(entries), Due: due,
		})
	}
	return all
}

// compare orders by time; entries that are equal tell the same.
func (e Entry) compare(other Entry) int {
	return cmp.Or(
		e.Notice.GetDecidedAt().AsTime().Compare(other.Notice.GetDecidedAt().AsTime()),
		cmp.Compare(e.Notice.GetOutcomeId(), other.Notice.GetOutcomeId()),
		cmp.Compare(e.Notice.GetKind(), other.Notice.GetKind()),
		cmp.Compare(e.Recipient.GetIndex(), other.Recipient.GetIndex()),
	)
}

func fingerprint(p person, entries []Entry) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %v\n", p.to, p.tenant, p.requireTLS)
	for _, e := range entries {
		fmt.Fprintf(h, "%q %q %d\n", e.Notice.GetOutcomeId(), e.Notice.GetKind(), e.Recipient.GetIndex())
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// entriesOf are the recipients of a notification.
func entriesOf(n *eventv1.JoinedNotice) []Entry {
	entries := make([]Entry, 0, len(n.GetRecipients()))
	for _, r := range n.GetRecipients() {
		entries = append(entries, Entry{Notice: n, Recipient: r})
	}
	return entries
}
