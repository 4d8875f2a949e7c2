// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/maillog"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/join"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/report"
	"github.com/postrider/postrider/services/dsn/internal/text"
	"github.com/postrider/postrider/services/dsn/internal/throttle"
)

// limitPostmaster stands for the limit of what only the postmaster is told.
const limitPostmaster throttle.Limit = "postmaster"

// joined is a notification, or a part of one, that is told later.
type joined struct {
	kind       policy.Kind
	limit      throttle.Limit
	to         string
	due        time.Time
	recipients []int
}

// Store is where joined notifications wait.
type Store interface {
	// Stored reports a recipient of a notification that was stored before a crash.
	Stored(outcomeID, kind string, index int) bool
	// Join stores a notification durably. The only error is that of ctx.
	Join(ctx context.Context, due time.Time, n *eventv1.JoinedNotice) error
	Close()
}

// Tenure is the work of one process while it is the one that makes notifications. Close must be called.
type Tenure struct {
	*Notifier
	js      jetstream.JetStream
	cursors *bus.Cursors
	idle    time.Duration

	told     bus.Cursor
	throttle *throttle.Throttle
	store    Store
}

// Tenure begins the work. idle is how often is looked for joined notifications to be told, 0 the usual.
func (n *Notifier) Tenure(js jetstream.JetStream, cursors *bus.Cursors, idle time.Duration) *Tenure {
	return &Tenure{Notifier: n, js: js, cursors: cursors, idle: idle}
}

// Begin reads what was told and what waits to be told (follow.Handler).
func (t *Tenure) Begin(ctx context.Context, cursors []bus.Cursor) error {
	t.Close()
	told, err := t.cursors.Read(ctx, bus.Told)
	if err != nil {
		return err
	}
	store, err := join.Open(ctx, t.js, cursors, t.log)
	if err != nil {
		return err
	}
	t.told, t.store = told, store
	t.throttle = throttle.New(t.limits, time.Unix(int64(told.Sequence), 0))
	t.counting.Store(t.throttle)
	return nil
}

// Beside tells of joined notifications at the end of their window (follow.Options).
func (t *Tenure) Beside(ctx context.Context, passed func() uint64) error {
	return join.NewTeller(join.TellerOptions{
		JetStream: t.js, Cursors: t.cursors, Log: t.store.(*join.Log), Sender: t, Closing: t.throttle.Tell, Passed: passed,
		PerDomain: max(t.limits.PerDomain, leastLists), Window: t.limits.Window, Idle: t.idle, Slog: t.log,
	}, t.told).Run(ctx)
}

// leastLists is how many lists of a window may go to one domain whatever the limit of notifications is.
const leastLists = 1000

// Close ends the work.
func (t *Tenure) Close() {
	if t.store == nil {
		return
	}
	t.counting.CompareAndSwap(t.throttle, nil)
	t.store.Close()
	t.store = nil
}

// Recall counts an outcome that is settled already (follow.Handler).
func (t *Tenure) Recall(item Item) {
	for _, d := range policy.Decide(item.Outcome) {
		t.count(item, d)
	}
}

// Plan decides about an outcome (follow.Handler).
func (t *Tenure) Plan(item Item) Item {
	for _, d := range policy.Decide(item.Outcome) {
		if postmaster := t.forPostmaster(item.Outcome, d); len(postmaster) > 0 {
			item.joined = append(item.joined, joined{
				kind: d.Kind, limit: limitPostmaster, to: t.postmaster, due: t.throttle.Due(item.StoredAt), recipients: postmaster,
			})
		}
		verdict := t.count(item, d)
		t.opened(item, verdict)
		limits := t.limitsOf(item, d, verdict)
		for _, part := range d.Divide(func(at int) bool { return limits[at] != throttle.None }) {
			item.decisions = append(item.decisions, part)
			if part.Reason == policy.ReasonThrottled {
				item.joined = append(item.joined, joined{
					kind: d.Kind, limit: firstLimit(limits), to: item.Outcome.GetEnvelopeSender(), due: verdict.Due, recipients: part.Recipients,
				})
			}
		}
	}
	return item
}

// count counts a notification that is due and can be made.
func (t *Tenure) count(item Item, d policy.Decision) throttle.Verdict {
	sender := item.Outcome.GetEnvelopeSender()
	if !d.Due() || !isAddress(sender) {
		return throttle.Verdict{}
	}
	return t.throttle.Count(item.StoredAt, sender, counted(item.Outcome, d))
}

// isAddress reports an address that a notification can be sent to.
func isAddress(address string) bool {
	_, err := mailaddr.Parse(address)
	return err == nil
}

func counted(o *eventv1.Outcome, d policy.Decision) []throttle.Counted {
	all := make([]throttle.Counted, 0, len(d.Recipients))
	for _, i := range d.Recipients {
		result := o.GetResults()[i]
		all = append(all, throttle.Counted{
			Address: result.GetRecipient().GetAddress(), Status: report.Status(d.Kind, result).String(),
		})
	}
	return all
}

// limitsOf names for each recipient of a decision the limit for which it is told later. What waits in the store already is
// told later whatever the verdict: it was decided before a crash.
func (t *Tenure) limitsOf(item Item, d policy.Decision, v throttle.Verdict) []throttle.Limit {
	limits := make([]throttle.Limit, len(d.Recipients))
	copy(limits, v.Joined)
	for at, i := range d.Recipients {
		if limits[at] == throttle.None && len(v.Joined) > 0 && t.store.Stored(item.Outcome.GetId(), string(d.Kind), i) {
			limits[at] = throttle.Recipient
		}
	}
	return limits
}

func firstLimit(limits []throttle.Limit) throttle.Limit {
	return limits[slices.IndexFunc(limits, func(l throttle.Limit) bool { return l != throttle.None })]
}

// forPostmaster returns the recipients of whose failure nobody else is told (D-03). What failed on its way to the
// postmaster is not among them: each list would make another one.
func (t *Tenure) forPostmaster(o *eventv1.Outcome, d policy.Decision) []int {
	silent := d.Reason == policy.ReasonNullSender || d.Reason == policy.ReasonOwnNotification
	if t.postmaster == "" || d.Kind != policy.Failed || !silent {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(d.Recipients), func(i int) bool {
		result := o.GetResults()[i]
		quiet := result.GetState() == eventv1.RecipientState_RECIPIENT_STATE_CANCELLED
		return quiet || strings.EqualFold(result.GetRecipient().GetAddress(), t.postmaster)
	})
}

// opened says aloud, once for each limit and window, that a storm is held back.
func (t *Tenure) opened(item Item, v throttle.Verdict) {
	ctx := context.Background()
	for _, limit := range v.Opened {
		t.meters.breaker(ctx, limit)
		sender := item.Outcome.GetEnvelopeSender()
		t.log.LogAttrs(ctx, slog.LevelWarn, "too many notifications: further ones are joined into a list",
			slog.String("limit", string(limit)), slog.String("sender_domain", sender[strings.LastIndexByte(sender, '@')+1:]),
			slog.String("domain", item.Outcome.GetDestination()), slog.String("message_id", item.Outcome.GetMessageId()),
			slog.Time("told_at", v.Due))
	}
}

// join stores what of an outcome is told later.
func (t *Tenure) join(ctx context.Context, item Item) error {
	o := item.Outcome
	for _, j := range item.joined {
		if err := t.store.Join(ctx, j.due, notice(item, j)); err != nil {
			return err
		}
		t.meters.joined(ctx, j)
		t.events.Throttled(ctx, maillog.Event{
			MessageID: o.GetMessageId(), Attempt: int(o.GetAttempt().GetNumber()), Domain: o.GetDestination(),
			Recipients: len(j.recipients), Kind: string(j.kind), Reason: string(j.limit), Next: j.due,
		})
	}
	return nil
}

func notice(item Item, j joined) *eventv1.JoinedNotice {
	o := item.Outcome
	n := &eventv1.JoinedNotice{
		OutcomeId: o.GetId(), Kind: string(j.kind), Limit: string(j.limit), To: j.to, MessageId: o.GetMessageId(),
		Tenant: o.GetTenant(), RequireTls: o.GetRequireTls(), Loop: o.GetLoop(), DecidedAt: o.GetDecidedAt(),
		Partition: uint32(item.Partition), Sequence: item.Sequence,
	}
	if j.limit == limitPostmaster {
		n.Tenant = "" // one postmaster for all
	}
	for _, i := range j.recipients {
		result := o.GetResults()[i]
		n.Recipients = append(n.Recipients, &eventv1.JoinedRecipient{
			Index: uint32(i), Address: result.GetRecipient().GetAddress(), Status: report.Status(j.kind, result).String(),
			Happened: text.Happened(j.kind, result),
		})
	}
	return n
}

// Look tells of each decision whether it would be joined now, were its outcome stored at a moment. Where this process
// does not count, nothing is.
func (n *Notifier) Look(o *eventv1.Outcome, decisions []policy.Decision, at time.Time) []policy.Decision {
	counting := n.counting.Load()
	if counting == nil {
		return decisions
	}
	var all []policy.Decision
	for _, d := range decisions {
		var joined []throttle.Limit
		if d.Due() {
			joined = counting.Look(at, o.GetEnvelopeSender(), counted(o, d)).Joined
		}
		all = append(all, d.Divide(func(at int) bool { return joined[at] != throttle.None })...)
	}
	return all
}
