// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Meter counts submissions (O-03).
type Meter struct {
	messages, bytes, refusals, foreign metric.Int64Counter
	fresh, duplicate                   metric.MeasurementOption
}

// NewMeter makes the instruments.
func NewMeter(m metric.Meter) (*Meter, error) {
	var errs []error
	counter := func(name, unit, help string) metric.Int64Counter {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(help))
		errs = append(errs, err)
		return c
	}
	out := &Meter{
		messages: counter("postrider.gateway.accepted", "{message}", "Messages accepted; duplicate tells those an idempotency key found."),
		bytes:    counter("postrider.gateway.accepted.size", "By", "Bytes of accepted messages as sent."),
		refusals: counter("postrider.gateway.refused", "{message}", "Messages refused, by reason."),
		foreign:  counter("postrider.gateway.foreign_traces", "{field}", "Trace headers that are not sealed with our key."),
	}
	out.fresh = metric.WithAttributeSet(attribute.NewSet(attribute.Bool("duplicate", false)))
	out.duplicate = metric.WithAttributeSet(attribute.NewSet(attribute.Bool("duplicate", true)))
	return out, errors.Join(errs...)
}

func (m *Meter) accepted(ctx context.Context, duplicate bool, size uint64) {
	if duplicate {
		m.messages.Add(ctx, 1, m.duplicate)
		return
	}
	m.messages.Add(ctx, 1, m.fresh)
	m.bytes.Add(ctx, int64(size))
}

func (m *Meter) refused(ctx context.Context, reason string) {
	m.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", reason)))
}

func (m *Meter) foreignTraces(ctx context.Context, n int) {
	if n > 0 {
		m.foreign.Add(ctx, int64(n))
	}
}
