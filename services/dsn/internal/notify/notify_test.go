// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/report"
	"github.com/postrider/postrider/services/dsn/internal/submit"
	"github.com/postrider/postrider/services/dsn/internal/throttle"
)

// submitter answers in turn and keeps what it was given.
type submitter struct {
	receipt submit.Receipt
	err     error
	got     []submit.Notification
}

func (s *submitter) Submit(_ context.Context, n submit.Notification) (submit.Receipt, error) {
	s.got = append(s.got, n)
	return s.receipt, s.err
}

// store keeps what is joined.
type store struct {
	before map[string]bool
	got    []*eventv1.JoinedNotice
	due    []time.Time
	err    error
	closed bool
}

func (s *store) Stored(outcomeID, kind string, index int) bool {
	return s.before[fmt.Sprint(outcomeID, kind, index)]
}

func (s *store) Join(_ context.Context, due time.Time, n *eventv1.JoinedNotice) error {
	if s.err == nil {
		s.got, s.due = append(s.got, n), append(s.due, due)
	}
	return s.err
}

func (s *store) Close() { s.closed = true }

type fixture struct {
	*Tenure
	submitter *submitter
	store     *store
	spans     *tracetest.SpanRecorder
	metrics   *sdkmetric.ManualReader
	log       *bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		submitter: &submitter{receipt: submit.Receipt{MessageID: "01NEW", Tries: 1}}, spans: tracetest.NewSpanRecorder(),
		metrics: sdkmetric.NewManualReader(), log: &bytes.Buffer{},
	}
	n, err := New(Options{
		Composer: report.Composer{ReportingMTA: "mail.example.org", From: "postmaster"}, Submitter: f.submitter,
		Log:    slog.New(slog.NewJSONHandler(f.log, nil)),
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(f.spans)),
		Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(f.metrics)),
		Limits: throttle.Limits{PerSender: 5, PerDomain: 8, PerRecipient: 2, Window: time.Hour}, Postmaster: "Postmaster@example.org",
	})
	if err != nil {
		t.Fatal(err)
	}
	f.store = &store{}
	f.Tenure = &Tenure{Notifier: n, throttle: throttle.New(n.limits, time.Time{}), store: f.store}
	n.counting.Store(f.throttle)
	return f
}

// settle plans and handles an outcome.
func (f *fixture) settle(ctx context.Context, item Item) error { return f.Handle(ctx, f.Plan(item)) }

// counts returns a counter's values by their labels, "failed due" for example.
func (f *fixture) counts(t *testing.T, name string, labels ...attribute.Key) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := f.metrics.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if m.Name != name || !ok {
				continue
			}
			for _, p := range sum.DataPoints {
				var words []string
				for _, label := range labels {
					value, _ := p.Attributes.Value(label)
					words = append(words, value.AsString())
				}
				found[strings.Join(words, " ")] = p.Value
			}
		}
	}
	return found
}

func bounced(sender string) Item {
	return Item{
		Outcome: &eventv1.Outcome{
			Id: "01OLD.1.2", MessageId: "01OLD", EnvelopeSender: sender, Destination: "example.net",
			Attempt: &eventv1.Attempt{Number: 2},
			Results: []*eventv1.RecipientResult{{
				Recipient: &eventv1.Recipient{Address: "bob@example.net"}, State: eventv1.RecipientState_RECIPIENT_STATE_BOUNCED,
			}},
		},
		StoredAt: time.Now().Add(-time.Second),
	}
}

func TestDueIsHandedInUnderItsKey(t *testing.T) {
	f := newFixture(t)
	item := bounced("anna@example.org")
	item.Outcome.RequireTls = true
	if err := f.settle(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	if len(f.submitter.got) != 1 {
		t.Fatalf("%d notifications", len(f.submitter.got))
	}
	n := f.submitter.got[0]
	if n.Key != "dsn/01OLD.1.2/failed" || n.Recipient != "anna@example.org" || !n.RequireTLS || n.About != item.Outcome ||
		!bytes.Contains(n.Content, []byte("multipart/report")) {
		t.Errorf("notification %+v", n)
	}
	if got := f.counts(t, "postrider.dsn.notifications", "kind", "result"); got["failed accepted"] != 1 || len(got) != 1 {
		t.Errorf("notifications %v", got)
	}
	if got := f.counts(t, "postrider.dsn.decisions", "kind", "reason"); got["failed due"] != 1 {
		t.Errorf("decisions %v", got)
	}
}

func TestD03_NothingForANullSender(t *testing.T) {
	f := newFixture(t)
	if err := f.settle(t.Context(), bounced("")); err != nil || len(f.submitter.got) != 0 {
		t.Fatalf("Handle = %v, %d notifications", err, len(f.submitter.got))
	}
	if got := f.counts(t, "postrider.dsn.decisions", "kind", "reason"); got["failed null_sender"] != 1 {
		t.Errorf("decisions %v", got)
	}
	if !strings.Contains(f.log.String(), `"reason":"null_sender"`) {
		t.Errorf("log:\n%s", f.log)
	}
}

func TestSpansTellDecisionAndResult(t *testing.T) {
	f := newFixture(t)
	f.submitter.receipt = submit.Receipt{MessageID: "01NEW", Duplicate: true, Tries: 3}
	item := bounced("anna@example.org")
	silent := proto.CloneOf(item.Outcome.GetResults()[0])
	silent.Recipient.Notify = []eventv1.Notify{eventv1.Notify_NOTIFY_NEVER}
	item.Outcome.Results = append(item.Outcome.Results, silent)
	if err := f.settle(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	attributes := map[string]map[attribute.Key]attribute.Value{}
	var names []string
	for _, s := range f.spans.Ended() {
		names = append(names, s.Name())
		attributes[s.Name()] = map[attribute.Key]attribute.Value{}
		for _, a := range s.Attributes() {
			attributes[s.Name()][a.Key] = a.Value
		}
	}
	if want := []string{"dsn.decide", "dsn.compose", "dsn.submit"}; !slices.Equal(names, want) {
		t.Fatalf("spans %v, want %v", names, want)
	}
	decided := attributes["dsn.decide"]["mail.dsn.decisions"].AsStringSlice()
	if want := []string{"failed due 1", "failed notify_never 1"}; !slices.Equal(decided, want) {
		t.Errorf("decisions %v, want %v", decided, want)
	}
	last := attributes["dsn.submit"]
	if last["mail.message_id"].AsString() != "01OLD" || last["mail.dsn.notification_id"].AsString() != "01NEW" ||
		!last["mail.dsn.duplicate"].AsBool() || last["mail.dsn.tries"].AsInt64() != 3 {
		t.Errorf("attributes %v", last)
	}
	if got := f.counts(t, "postrider.dsn.notifications", "kind", "result"); got["failed duplicate"] != 1 {
		t.Errorf("notifications %v", got)
	}
}

func TestRefusedIsRecordedAndSettled(t *testing.T) {
	f := newFixture(t)
	f.submitter.receipt = submit.Receipt{Refused: &rpc.Error{Code: codes.InvalidArgument, Reason: "INVALID_CONTENT"}}
	if err := f.settle(t.Context(), bounced("anna@example.org")); err != nil {
		t.Fatal(err)
	}
	if got := f.counts(t, "postrider.dsn.notifications", "kind", "result"); got["failed refused"] != 1 || len(got) != 1 {
		t.Errorf("notifications %v", got)
	}
	if log := f.log.String(); !strings.Contains(log, `"level":"ERROR"`) || !strings.Contains(log, "INVALID_CONTENT") {
		t.Errorf("log:\n%s", log)
	}
	f.SubmitFailed(f.submitter.receipt.Refused)
	if got := f.counts(t, "postrider.dsn.submit.failures", "code", "reason"); got["INVALID_ARGUMENT INVALID_CONTENT"] != 1 {
		t.Errorf("failures %v", got)
	}
}

func TestQ10_ImpossibleIsRecordedAndOtherKindsGoOn(t *testing.T) {
	f := newFixture(t)
	if err := f.settle(t.Context(), bounced("no address")); err != nil || len(f.submitter.got) != 0 {
		t.Fatalf("Handle = %v, %d notifications", err, len(f.submitter.got))
	}
	if got := f.counts(t, "postrider.dsn.notifications", "kind", "result"); got["failed impossible"] != 1 {
		t.Errorf("notifications %v", got)
	}
	if log := f.log.String(); !strings.Contains(log, "cannot be made") || strings.Contains(log, "no address") {
		t.Errorf("log:\n%s", log)
	}
	f.Undecodable(t.Context())
	if got := f.counts(t, "postrider.dsn.undecodable"); got[""] != 1 {
		t.Errorf("undecodable %v", got)
	}
}

func TestNotSettledWhenStopped(t *testing.T) {
	f := newFixture(t)
	f.submitter.err = context.Canceled
	if err := f.settle(t.Context(), bounced("anna@example.org")); !errors.Is(err, context.Canceled) {
		t.Errorf("Handle = %v", err)
	}
	if got := f.counts(t, "postrider.dsn.notifications", "kind", "result"); len(got) != 0 {
		t.Errorf("notifications %v", got)
	}
}
