// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/gateway/internal/submit"
)

// meters are the gateway's instruments.
type meters struct {
	submit  *submit.Meter
	took    metric.Float64Histogram
	records metric.Int64Histogram
}

func newMeters(m metric.Meter) (*meters, error) {
	counts, err := submit.NewMeter(m)
	took, err2 := m.Float64Histogram("postrider.queue.append.duration", metric.WithUnit("s"),
		metric.WithDescription("Time until a segment was stored and flushed."),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 15))
	records, err3 := m.Int64Histogram("postrider.queue.append.records", metric.WithUnit("{record}"),
		metric.WithDescription("Records in a segment: how well group commit works."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256, 1024))
	return &meters{submit: counts, took: took, records: records}, errors.Join(err, err2, err3)
}

// stored is told of each segment that was stored.
func (m *meters) stored(s bus.Stored) {
	stream := metric.WithAttributes(attribute.String("messaging.destination.name", s.Stream))
	m.took.Record(context.Background(), s.Took.Seconds(), stream)
	m.records.Record(context.Background(), int64(s.Records), stream)
}
