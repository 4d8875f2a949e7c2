// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
)

// Meter counts submissions (O-03).
type Meter struct {
	messages, bytes, refusals, foreign, repeated, alone metric.Int64Counter
	fresh, duplicate                                    metric.MeasurementOption
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
		repeated: counter("postrider.gateway.loop.decisions", "{message}", "Messages a loop rule refused or told of, by rule and result."),
		alone:    counter("postrider.gateway.loop.unshared", "{message}", "Responses judged by this gateway's own count, since the shared one could not be had."),
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

// loops counts what the loop rules found.
func (m *Meter) loops(ctx context.Context, v loopdetect.Verdict) {
	if v.Foreign > 0 {
		m.foreign.Add(ctx, int64(v.Foreign))
	}
	for _, d := range v.Decisions {
		switch d.Result {
		case eventv1.LoopResult_LOOP_RESULT_REFUSED, eventv1.LoopResult_LOOP_RESULT_REPORTED, eventv1.LoopResult_LOOP_RESULT_HELD:
			m.repeated.Add(ctx, 1, metric.WithAttributes(attribute.String("rule", d.Name()), attribute.String("result", loopdetect.Word(d.Result))))
		}
	}
}

// countedAlone counts a response for which the shared count could not be had.
func (m *Meter) countedAlone(ctx context.Context) { m.alone.Add(ctx, 1) }
