// SPDX-License-Identifier: Apache-2.0

package dnscache

import (
	"context"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/boundedmap"
	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// Bounds of what is kept, whatever the records say.
const (
	// MinTTL is the least lifetime of records that exist.
	MinTTL = 5 * time.Second
	// MaxTTL is the longest lifetime of records that exist.
	MaxTTL = 24 * time.Hour
	// MaxNegativeTTL is the longest lifetime of an absence (R-24; RFC 2308, section 5).
	MaxNegativeTTL = time.Hour
)

// Options bound a Cache.
type Options struct {
	// Entries is the most answers kept; the oldest goes first. At least 1.
	Entries int
	// MaxTTL lowers the longest lifetime; 0 is the constant of that name.
	MaxTTL time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Cache holds answers. It is safe for concurrent use.
type Cache struct {
	maxTTL time.Duration
	now    func() time.Time

	answers *boundedmap.Map[key, *dnsquery.Answer]
}

type key struct {
	name string
	typ  dnsquery.Type
}

// New returns an empty Cache.
func New(o Options) *Cache {
	c := &Cache{maxTTL: MaxTTL, now: o.Now, answers: boundedmap.New[key, *dnsquery.Answer](o.Entries)}
	if o.MaxTTL > 0 {
		c.maxTTL = min(o.MaxTTL, MaxTTL)
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// Over returns a Querier that answers from the cache and asks next for what is not in it.
func (c *Cache) Over(next dnsquery.Querier) dnsquery.Querier { return reader{c, next} }

// Keep returns a Querier that stores what next answers. It looks into the cache once more first: the question may have
// been answered after the caller looked.
func (c *Cache) Keep(next dnsquery.Querier) dnsquery.Querier { return keeper{c, next} }

type reader struct {
	cache *Cache
	next  dnsquery.Querier
}

func (r reader) Query(ctx context.Context, q dnsquery.Question) (*dnsquery.Answer, error) {
	if a := r.cache.get(q); a != nil {
		return a, nil
	}
	return r.next.Query(ctx, q)
}

type keeper struct {
	cache *Cache
	next  dnsquery.Querier
}

func (k keeper) Query(ctx context.Context, q dnsquery.Question) (*dnsquery.Answer, error) {
	if a := k.cache.get(q); a != nil {
		return a, nil
	}
	a, err := k.next.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	k.cache.store(q, a)
	return a, nil
}

// get returns an answer that has not expired, nil without one or when the question wants a fresh one.
func (c *Cache) get(q dnsquery.Question) *dnsquery.Answer {
	if q.Fresh {
		return nil
	}
	a, ok := c.answers.Get(key{q.Name, q.Type})
	if !ok || !c.now().Before(a.Expires) {
		return nil
	}
	return a
}

// store keeps an answer nobody else has seen yet, and sets when it was asked and when it expires.
func (c *Cache) store(q dnsquery.Question, a *dnsquery.Answer) {
	a.TTL = c.lifetime(a)
	a.Expires = c.now().Add(a.TTL)
	k := key{q.Name, q.Type}
	if a.TTL > 0 {
		c.answers.Put(k, a)
	} else {
		c.answers.Delete(k)
	}
}

// lifetime is the TTL within the bounds of.
func (c *Cache) lifetime(a *dnsquery.Answer) time.Duration {
	if a.Empty() && !a.Open {
		return min(a.TTL, MaxNegativeTTL, c.maxTTL)
	}
	return min(max(a.TTL, MinTTL), c.maxTTL)
}

// Len returns the number of answers held, expired ones among them.
func (c *Cache) Len() int { return c.answers.Len() }

// Flush forgets the answers for a name with all its types, or everything for "", and returns how many there were.
func (c *Cache) Flush(name string) int {
	return c.answers.DeleteFunc(func(k key, _ *dnsquery.Answer) bool { return name == "" || k.name == name })
}
