// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	dsnv1 "github.com/postrider/postrider/proto/postrider/dsn/v1"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/notify"
	"github.com/postrider/postrider/services/dsn/internal/report"
	"github.com/postrider/postrider/services/dsn/internal/strict"
)

// previewClient calls Preview over a real connection.
func previewClient(t *testing.T, change ...func(*service)) dsnv1.DsnServiceClient {
	t.Helper()
	notifier, err := notify.New(notify.Options{
		Log: slog.New(slog.DiscardHandler), Tracer: sdktrace.NewTracerProvider(), Meter: noop.NewMeterProvider(),
		Limits: Default().Throttle.limits(),
	})
	if err != nil {
		t.Fatal(err)
	}
	service := &service{
		composer: report.Composer{ReportingMTA: "mail.example.org", From: "postmaster", MaxReturned: 50 << 10}, notifier: notifier,
	}
	for _, c := range change {
		c(service)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rpc.NewServer(rpc.ServerOptions{})
	service.Register(s)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := s.Serve(ctx, listener); err != nil {
			t.Error(err)
		}
	})
	conn, err := rpc.Dial(listener.Addr().String(), rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); cancel(); done.Wait() })
	return dsnv1.NewDsnServiceClient(conn)
}

const previewed = "Subject: Hello\r\nFrom: anna@example.org\r\n\r\nThe body\r\n"

// happened is one way an attempt can end for a recipient.
type happened struct {
	name   string
	result func() *eventv1.RecipientResult
	// kind is the kind that would be due, asks the NOTIFY value that asks for it.
	kind   dsnv1.Kind
	action string
	asks   eventv1.Notify
}

func endings() []happened {
	reply := func(code uint32, class uint32) *eventv1.RecipientResult {
		r := &eventv1.Reply{Code: code, Lines: []string{"text"}}
		return &eventv1.RecipientResult{
			Recipient: &eventv1.Recipient{Address: "bob@example.net"}, Reply: r, RemoteMta: "mx.example.net",
			Status: &eventv1.EnhancedCode{Class: class},
		}
	}
	state := func(s eventv1.RecipientState, r *eventv1.RecipientResult) *eventv1.RecipientResult {
		r.State = s
		return r
	}
	return []happened{
		{"bounced", func() *eventv1.RecipientResult {
			return state(eventv1.RecipientState_RECIPIENT_STATE_BOUNCED, reply(550, 5))
		}, dsnv1.Kind_KIND_FAILED, "failed", eventv1.Notify_NOTIFY_FAILURE},
		{"expired", func() *eventv1.RecipientResult {
			return state(eventv1.RecipientState_RECIPIENT_STATE_EXPIRED, reply(451, 4))
		}, dsnv1.Kind_KIND_FAILED, "failed", eventv1.Notify_NOTIFY_FAILURE},
		{"cancelled with notice", func() *eventv1.RecipientResult {
			r := state(eventv1.RecipientState_RECIPIENT_STATE_CANCELLED, reply(451, 4))
			r.CancelNoticeDue = true
			return r
		}, dsnv1.Kind_KIND_FAILED, "failed", eventv1.Notify_NOTIFY_FAILURE},
		{"delayed", func() *eventv1.RecipientResult {
			r := state(eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, reply(451, 4))
			r.DelayNoticeDue = true
			return r
		}, dsnv1.Kind_KIND_DELAYED, "delayed", eventv1.Notify_NOTIFY_DELAY},
		{"relayed", func() *eventv1.RecipientResult {
			return state(eventv1.RecipientState_RECIPIENT_STATE_RELAYED, reply(250, 2))
		}, dsnv1.Kind_KIND_RELAYED, "relayed", eventv1.Notify_NOTIFY_SUCCESS},
		{"delivered, the next host reports", func() *eventv1.RecipientResult {
			r := state(eventv1.RecipientState_RECIPIENT_STATE_DELIVERED, reply(250, 2))
			r.DsnPassedOn = true
			return r
		}, dsnv1.Kind_KIND_DELIVERED, "none", eventv1.Notify_NOTIFY_UNSPECIFIED},
		{"deferred, no notice due", func() *eventv1.RecipientResult {
			return state(eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, reply(451, 4))
		}, dsnv1.Kind_KIND_DELAYED, "none", eventv1.Notify_NOTIFY_UNSPECIFIED},
		{"cancelled quietly", func() *eventv1.RecipientResult {
			return state(eventv1.RecipientState_RECIPIENT_STATE_CANCELLED, reply(451, 4))
		}, dsnv1.Kind_KIND_FAILED, "none", eventv1.Notify_NOTIFY_UNSPECIFIED},
		{"held", func() *eventv1.RecipientResult {
			return state(eventv1.RecipientState_RECIPIENT_STATE_HELD, reply(451, 4))
		}, dsnv1.Kind_KIND_UNSPECIFIED, "none", eventv1.Notify_NOTIFY_UNSPECIFIED},
	}
}

// notifies returns every list of NOTIFY values the gateway takes.
func notifies() [][]eventv1.Notify {
	lists := [][]eventv1.Notify{{eventv1.Notify_NOTIFY_NEVER}}
	all := []eventv1.Notify{eventv1.Notify_NOTIFY_SUCCESS, eventv1.Notify_NOTIFY_FAILURE, eventv1.Notify_NOTIFY_DELAY}
	for bits := range 8 {
		var list []eventv1.Notify
		for i, n := range all {
			if bits>>i&1 == 1 {
				list = append(list, n)
			}
		}
		lists = append(lists, list)
	}
	return lists
}

// TestD04_D08_NotifyByOutcomeByRet holds every NOTIFY against every ending and every RET, and reads what comes of it.
func TestD04_D08_NotifyByOutcomeByRet(t *testing.T) {
	client := previewClient(t)
	for _, ending := range endings() {
		for _, notify := range notifies() {
			for _, ret := range []eventv1.Ret{eventv1.Ret_RET_UNSPECIFIED, eventv1.Ret_RET_FULL, eventv1.Ret_RET_HDRS} {
				for _, sender := range []string{"anna@example.org", ""} {
					t.Run(fmt.Sprintf("%s/%v/%v/%q", ending.name, notify, ret, sender), func(t *testing.T) {
						result := ending.result()
						result.Recipient.Notify = notify
						response, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{
							Outcome: &eventv1.Outcome{
								Id: "01J.1.1", MessageId: "01J", EnvelopeSender: sender, Ret: ret, ReturnsFullContent: ret == eventv1.Ret_RET_FULL,
								Results: []*eventv1.RecipientResult{result}, DecidedAt: timestamppb.Now(),
								Content: &eventv1.Content{Size: uint64(len(previewed))},
							},
							Original: []byte(previewed),
						})
						if err != nil {
							t.Fatal(err)
						}
						asked := slices.Contains(notify, ending.asks) ||
							len(notify) == 0 && ending.asks != eventv1.Notify_NOTIFY_SUCCESS && ending.action != "none"
						checkDecision(t, response, ending, asked && sender != "", ret)
					})
				}
			}
		}
	}
}

func checkDecision(t *testing.T, response *dsnv1.PreviewResponse, ending happened, due bool, ret eventv1.Ret) {
	t.Helper()
	if len(response.GetDecisions()) != 1 {
		t.Fatalf("decisions %v", response.GetDecisions())
	}
	d := response.GetDecisions()[0]
	if d.GetDue() != due || (d.GetReason() == "due") != due || !slices.Equal(d.GetRecipients(), []uint32{0}) {
		t.Fatalf("due %v, reason %q, recipients %v; want due %v", d.GetDue(), d.GetReason(), d.GetRecipients(), due)
	}
	if !due {
		if len(d.GetMessage()) > 0 || d.GetIdempotencyKey() != "" || d.GetEnvelopeRecipient() != "" {
			t.Error("there is a message though none is due")
		}
		return
	}
	if d.GetKind() != ending.kind || d.GetEnvelopeRecipient() != "anna@example.org" ||
		d.GetIdempotencyKey() != "dsn/01J.1.1/"+ending.action {
		t.Errorf("kind %v, recipient %q, key %q", d.GetKind(), d.GetEnvelopeRecipient(), d.GetIdempotencyKey())
	}
	r, err := strict.Parse(d.GetMessage())
	if err != nil {
		t.Fatalf("%v\n%s", err, d.GetMessage())
	}
	third := "text/rfc822-headers"
	if ret == eventv1.Ret_RET_FULL && ending.action == "failed" {
		third = "message/rfc822"
	}
	if want := []string{"text/plain", "message/delivery-status", third}; !slices.Equal(r.Types, want) {
		t.Fatalf("parts %v, want %v", r.Types, want)
	}
	if len(r.Status) != 2 || r.Status[1].Get("Action") != ending.action || r.Status[1].Get("Final-Recipient") != "rfc822; bob@example.net" {
		t.Errorf("report %v", r.Status)
	}
	if whole := r.Returned == previewed; whole != (third == "message/rfc822") {
		t.Errorf("returned:\n%s", r.Returned)
	}
}

func TestPreviewExplainsWhatIsNotDue(t *testing.T) {
	client := previewClient(t)
	passed := endings()[4].result()
	passed.Recipient.Notify, passed.DsnPassedOn = []eventv1.Notify{eventv1.Notify_NOTIFY_SUCCESS}, true
	held := &eventv1.RecipientResult{State: eventv1.RecipientState_RECIPIENT_STATE_HELD}
	response, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{Outcome: &eventv1.Outcome{
		Id: "01J.1.1", EnvelopeSender: "anna@example.org", Results: []*eventv1.RecipientResult{held, passed, endings()[0].result()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range response.GetDecisions() {
		got = append(got, fmt.Sprintf("%v %s %v", d.GetKind(), d.GetReason(), d.GetRecipients()))
	}
	want := []string{"KIND_FAILED due [2]", "KIND_DELIVERED passed_on [1]", "KIND_UNSPECIFIED held [0]"}
	if !slices.Equal(got, want) {
		t.Errorf("decisions %v, want %v", got, want)
	}
}

func TestPreviewRefusesOutcomesNoNotificationCanBeMadeOf(t *testing.T) {
	client := previewClient(t)
	results := []*eventv1.RecipientResult{endings()[0].result()}
	for field, outcome := range map[string]*eventv1.Outcome{
		"outcome":                 nil,
		"outcome.id":              {Id: "a\r\nb", EnvelopeSender: "anna@example.org", Results: results},
		"outcome.envelope_sender": {Id: "01J.1.1", EnvelopeSender: "anna@example.org\r\nBcc: x@y.example", Results: results},
	} {
		_, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{Outcome: outcome})
		fault := rpc.FromError(err)
		if fault == nil || fault.Code != codes.InvalidArgument || len(fault.Fields) != 1 || fault.Fields[0].Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestPreviewLooksTheOutcomeUp by the id of the message or of the outcome, and tells what was joined.
func TestPreviewLooksTheOutcomeUp(t *testing.T) {
	w := newWorld(t, 2)
	client := previewClient(t, func(s *service) { s.js = w.js })
	first, second, other := w.failed(), w.failed(), w.failed()
	second.MessageId, second.Id = first.GetMessageId(), bus.OutcomeID(first.GetMessageId(), 1, 2)
	second.EnvelopeSender = ""
	broken := proto.CloneOf(first)
	broken.Id, broken.EnvelopeSender = bus.OutcomeID(first.GetMessageId(), 2, 1), "no address"
	w.append(bus.Notice, 0, other, first)
	w.append(bus.Quiet, 1, second)
	w.append(bus.Notice, 1, broken)
	preview := func(id string) []string {
		t.Helper()
		response, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range response.GetDecisions() {
			got = append(got, fmt.Sprintf("%s %s %v", d.GetOutcomeId(), d.GetReason(), d.GetAddresses()))
			if d.GetDue() != bytes.Contains(d.GetMessage(), []byte("Subject: Hello")) {
				t.Errorf("due %v:\n%s", d.GetDue(), d.GetMessage())
			}
		}
		return got
	}
	want := []string{
		first.GetId() + " due [bob@example.net]", second.GetId() + " null_sender [bob@example.net]",
		broken.GetId() + " impossible: envelope_sender []",
	}
	if got := preview(first.GetMessageId()); !slices.Equal(got, want) {
		t.Errorf("by message: %v, want %v", got, want)
	}
	if got := preview(second.GetId()); !slices.Equal(got, want[1:2]) {
		t.Errorf("by outcome: %v, want %v", got, want[1:2])
	}
	frame, err := bus.FrameJoined(&eventv1.JoinedNotice{
		OutcomeId: other.GetId(), Kind: "failed", Recipients: []*eventv1.JoinedRecipient{{Index: 0}},
	})
	if err != nil {
		t.Fatal(err)
	}
	header, data := bus.EncodeSegment([]bus.Frame{frame})
	if _, err := w.js.PublishMsg(t.Context(), &nats.Msg{Subject: bus.JoinedSubject(time.Now()), Header: header, Data: data}); err != nil {
		t.Fatal(err)
	}
	if got := preview(other.GetMessageId()); !slices.Equal(got, []string{other.GetId() + " notify_throttled [bob@example.net]"}) {
		t.Errorf("joined: %v", got)
	}
	for id, code := range map[string]codes.Code{
		"01ARZ3NDEKTSV4RRFFQ69G5FAV": codes.NotFound, "x": codes.InvalidArgument, first.GetMessageId() + ".9.9": codes.NotFound,
	} {
		if _, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{Id: id}); rpc.FromError(err).Code != code {
			t.Errorf("id %s: %v, want %v", id, err, code)
		}
	}
	if _, err := client.Preview(t.Context(), &dsnv1.PreviewRequest{Id: first.GetId(), Outcome: first}); rpc.FromError(err).Code != codes.InvalidArgument {
		t.Errorf("both: %v", err)
	}
}
