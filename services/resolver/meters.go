// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"errors"
	"net/netip"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/postrider/postrider/services/resolver/internal/dnsexchange"
	"github.com/postrider/postrider/services/resolver/internal/servercheck"
)

// meters are the resolver's instruments (O-03).
type meters struct {
	meter       metric.Meter
	queries     metric.Float64Histogram
	unavailable metric.Int64Counter
	up, denies  metric.Int64Gauge
	verdicts    metric.Int64Counter
}

func newMeters(m metric.Meter) (*meters, error) {
	queries, err := m.Float64Histogram("postrider.dns.query.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of a DNS query by server, transport and result."),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5))
	unavailable, err2 := m.Int64Counter("postrider.dns.tcp_unavailable", metric.WithUnit("{lookup}"),
		metric.WithDescription("Lookups that preferred TCP and had to go by UDP."))
	up, err3 := m.Int64Gauge("postrider.dns.server.up",
		metric.WithDescription("1 when the last check of a DNS server in this way was answered, whatever the answer, else 0."))
	denies, err5 := m.Int64Gauge("postrider.dns.server.denies",
		metric.WithDescription("1 when the last check of a DNS server in this way was answered with REFUSED, SERVFAIL or the like, else 0."))
	verdicts, err4 := m.Int64Counter("postrider.resolver.no_route", metric.WithUnit("{route}"),
		metric.WithDescription("Requests that had no route, by reason."))
	return &meters{meter: m, queries: queries, unavailable: unavailable, up: up, denies: denies, verdicts: verdicts}, errors.Join(err, err2, err3, err4, err5)
}

// observeCache exports the number of cached answers.
func (m *meters) observeCache(entries func() int) error {
	_, err := m.meter.Int64ObservableGauge("postrider.dns.cache.entries", metric.WithUnit("{answer}"),
		metric.WithDescription("DNS answers held, expired ones among them."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(int64(entries()))
			return nil
		}))
	return err
}

// query is told of each query that was sent.
func (m *meters) query(s dnsexchange.Sent) {
	m.queries.Record(context.Background(), s.Took.Seconds(), metric.WithAttributes(
		attribute.String("dns.server", s.Server.String()),
		attribute.String("network.transport", string(s.Transport)),
		attribute.String("dns.result", string(s.Result)),
	))
}

func (m *meters) tcpUnavailable(server netip.AddrPort) {
	m.unavailable.Add(context.Background(), 1, metric.WithAttributes(attribute.String("dns.server", server.String())))
}

// checked is told of each probe of a check. The probe of a truncated answer goes over both transports.
func (m *meters) checked(server netip.AddrPort, p servercheck.Probe) {
	attrs := []attribute.KeyValue{attribute.String("dns.server", server.String()), attribute.String("dns.probe", p.Name)}
	if p.Name != servercheck.Truncation {
		attrs = append(attrs, attribute.String("network.transport", string(p.Transport)))
	}
	way := metric.WithAttributes(attrs...)
	m.up.Record(context.Background(), gauge(p.Alive()), way)
	m.denies.Record(context.Background(), gauge(p.Result == servercheck.Denied), way)
}

func gauge(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

func (m *meters) noRoute(ctx context.Context, reason string) {
	m.verdicts.Add(ctx, 1, metric.WithAttributes(attribute.String("mail.reason", reason)))
}
