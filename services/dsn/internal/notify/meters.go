// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/throttle"
)

// How a due notification ended.
const (
	resultAccepted   = "accepted"
	resultDuplicate  = "duplicate"
	resultRefused    = "refused"
	resultImpossible = "impossible"
)

// meters are the service's metrics (O-03). No label holds an address.
type meters struct {
	decisions     metric.Int64Counter
	notifications metric.Int64Counter
	delay         metric.Float64Histogram
	failures      metric.Int64Counter
	undecodable   metric.Int64Counter
	throttled     metric.Int64Counter
	opened        metric.Int64Counter
	lists         metric.Int64Counter
}

func newMeters(provider metric.MeterProvider) (m *meters, err error) {
	meter := provider.Meter(Scope)
	m = &meters{}
	if m.decisions, err = meter.Int64Counter("postrider.dsn.decisions", metric.WithUnit("{recipient}"),
		metric.WithDescription("Recipients by kind and by why a notification is due for them or not.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if m.notifications, err = meter.Int64Counter("postrider.dsn.notifications", metric.WithUnit("{message}"),
		metric.WithDescription("Notifications that were due, by kind and by how they ended.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if m.delay, err = meter.Float64Histogram("postrider.dsn.delay", metric.WithUnit("s"),
		metric.WithDescription("Time from a stored outcome to its accepted notification.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if m.failures, err = meter.Int64Counter("postrider.dsn.submit.failures", metric.WithUnit("{call}"),
		metric.WithDescription("Calls to the gateway that did not hand a notification in, by code and reason.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if m.undecodable, err = meter.Int64Counter("postrider.dsn.undecodable", metric.WithUnit("{record}"),
		metric.WithDescription("Stored outcomes that could not be read.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if m.throttled, err = meter.Int64Counter("postrider.dsn.notify_throttled", metric.WithUnit("{recipient}"),
		metric.WithDescription("Recipients whose notification is told later in a list, by kind and by the limit that was passed.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if m.opened, err = meter.Int64Counter("postrider.dsn.breaker_opened", metric.WithUnit("{limit}"),
		metric.WithDescription("Limits of notifications that were passed, once for each sender, domain or recipient and window.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if m.lists, err = meter.Int64Counter("postrider.dsn.lists", metric.WithUnit("{message}"),
		metric.WithDescription("Lists of joined notifications, by how they ended.")); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return m, nil
}

func (m *meters) decided(ctx context.Context, d policy.Decision) {
	m.decisions.Add(ctx, int64(len(d.Recipients)), metric.WithAttributes(
		attribute.String("kind", string(d.Kind)), attribute.String("reason", string(d.Reason))))
}

func (m *meters) ended(ctx context.Context, d policy.Decision, result string) {
	m.notifications.Add(ctx, 1, metric.WithAttributes(
		attribute.String("kind", string(d.Kind)), attribute.String("result", result)))
}

func (m *meters) joined(ctx context.Context, j joined) {
	m.throttled.Add(ctx, int64(len(j.recipients)), metric.WithAttributes(
		attribute.String("kind", string(j.kind)), attribute.String("limit", string(j.limit))))
}

func (m *meters) breaker(ctx context.Context, limit throttle.Limit) {
	m.opened.Add(ctx, 1, metric.WithAttributes(attribute.String("limit", string(limit))))
}

func (m *meters) list(ctx context.Context, result string) {
	m.lists.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
}

func (m *meters) accepted(ctx context.Context, d policy.Decision, duplicate bool, storedAt time.Time) {
	result := resultAccepted
	if duplicate {
		result = resultDuplicate
	}
	m.ended(ctx, d, result)
	m.delay.Record(ctx, time.Since(storedAt).Seconds())
}

// SubmitFailed counts a call that did not hand a notification in (submit.Observer).
func (n *Notifier) SubmitFailed(err *rpc.Error) {
	n.meters.failures.Add(context.Background(), 1, metric.WithAttributes(
		attribute.String("code", err.CodeWord()), attribute.String("reason", err.Reason)))
}

// Undecodable counts a stored outcome that could not be read.
func (n *Notifier) Undecodable(ctx context.Context) { n.meters.undecodable.Add(ctx, 1) }
