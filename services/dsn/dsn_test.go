// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"bytes"
	"errors"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/runner"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

func key(o *eventv1.Outcome) string { return "dsn/" + o.GetId() + "/failed" }

func TestD05_AFailureBecomesOneNotification(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	o := w.failed()
	o.Tenant, o.Loop = "shop", &eventv1.LoopTrace{HopNumber: 2}
	w.awaitCursor(0, w.append(bus.Notice, 0, o))
	if keys := w.gateway.keys(); !slices.Equal(keys, []string{key(o)}) {
		t.Fatalf("notifications %v, want %s", keys, key(o))
	}
	request := w.gateway.request(key(o))
	want := &gatewayv1.Envelope{
		Recipients: []*gatewayv1.Recipient{{Address: "anna@example.org", Notify: []eventv1.Notify{eventv1.Notify_NOTIFY_NEVER}}},
		Tenant:     "shop", IdempotencyKey: key(o), ReportsOn: o.GetMessageId(), ReportsOnLoop: &eventv1.LoopTrace{HopNumber: 2},
	}
	if !proto.Equal(request.GetEnvelope(), want) {
		t.Errorf("envelope\n%v, want\n%v", request.GetEnvelope(), want)
	}
	m, err := mail.ReadMessage(bytes.NewReader(request.GetContent()))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("From") != "Mail Delivery System <MAILER-DAEMON@mail.example.org>" || m.Header.Get("Auto-Submitted") != "auto-replied" {
		t.Errorf("header %v", m.Header)
	}
	if log := w.log.String(); strings.Contains(log, "anna") || strings.Contains(log, "bob@") || !strings.Contains(log, `"notified"`) {
		t.Errorf("log:\n%s", log)
	}
}

func TestD03_NullSenderIsRecordedAndPassed(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	o := w.failed()
	o.EnvelopeSender = ""
	w.awaitCursor(0, w.append(bus.Notice, 0, o))
	if n := w.gateway.callCount(); n != 0 {
		t.Errorf("%d calls for a null sender", n)
	}
	log := w.log.String()
	if !strings.Contains(log, "final failure without notification") || !strings.Contains(log, `"reason":"null_sender"`) ||
		!strings.Contains(log, o.GetMessageId()) {
		t.Errorf("the failure is not recorded:\n%s", log)
	}
}

func TestD05_EachKindOfAnOutcomeIsANotification(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	o := w.failed()
	late := proto.CloneOf(o.GetResults()[0])
	late.State, late.DelayNoticeDue = eventv1.RecipientState_RECIPIENT_STATE_DEFERRED, true
	o.Results = append(o.Results, late, proto.CloneOf(o.GetResults()[0]))
	w.awaitCursor(0, w.append(bus.Notice, 0, o))
	keys := w.gateway.keys()
	slices.Sort(keys)
	if want := []string{"dsn/" + o.GetId() + "/delayed", key(o)}; !slices.Equal(keys, want) {
		t.Fatalf("notifications %v, want %v", keys, want)
	}
	if n := bytes.Count(w.gateway.request(key(o)).GetContent(), []byte("Final-Recipient")); n != 2 {
		t.Errorf("%d recipients in the failure, want 2", n)
	}
}

func TestEveryPartitionIsFollowed(t *testing.T) {
	w := newWorld(t, 4)
	w.start()
	for partition := range 4 {
		w.append(bus.Notice, partition, w.failed(), w.failed())
	}
	w.gateway.await(t, 8)
	for partition := range 4 {
		w.awaitCursor(partition, w.append(bus.Notice, partition, w.failed()))
	}
}

func TestQuietOutcomesAreNotRead(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	quiet, notice := w.failed(), w.failed()
	w.append(bus.Quiet, 0, quiet)
	w.awaitCursor(0, w.append(bus.Notice, 0, notice))
	if keys := w.gateway.keys(); !slices.Equal(keys, []string{key(notice)}) {
		t.Errorf("notifications %v", keys)
	}
}

func TestRefusedNotificationIsRecordedAndOthersGoOn(t *testing.T) {
	w := newWorld(t, 1)
	bad, loop, good := w.failed(), w.failed(), w.failed()
	w.gateway.hook(func(_ int, request *gatewayv1.SubmitRequest) error {
		switch request.GetEnvelope().GetIdempotencyKey() {
		case key(bad):
			return &rpc.Error{Code: codes.InvalidArgument, Reason: "INVALID_CONTENT"}
		case key(loop):
			return &rpc.Error{Code: codes.FailedPrecondition, Reason: "LOOP"}
		}
		return nil
	}, nil)
	w.start()
	w.append(bus.Notice, 0, bad)
	w.append(bus.Notice, 0, loop)
	w.awaitCursor(0, w.append(bus.Notice, 0, good))
	if keys := w.gateway.keys(); !slices.Equal(keys, []string{key(good)}) || w.gateway.callCount() != 3 {
		t.Errorf("notifications %v after %d calls", keys, w.gateway.callCount())
	}
	log := w.log.String()
	for _, want := range []string{bad.GetMessageId(), loop.GetMessageId(), "INVALID_CONTENT", "LOOP", "given up"} {
		if !strings.Contains(log, want) {
			t.Errorf("%s is not recorded:\n%s", want, log)
		}
	}
}

func TestQ10_WhatCannotBeReadIsReportedAndPassed(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	good, hopeless := w.failed(), w.failed()
	hopeless.EnvelopeSender = "no address"
	frame, err := bus.FrameOutcome(good)
	if err != nil {
		t.Fatal(err)
	}
	w.appendFrames(bus.Notice, 0, []bus.Frame{{Meta: []byte{0xff, 0xff}}, frame})
	if _, err := w.js.Publish(t.Context(), bus.OutcomeSubject(bus.Notice, 0), []byte("no segment")); err != nil {
		t.Fatal(err)
	}
	cut := w.failed()
	if frame, err = bus.FrameOutcome(cut); err != nil {
		t.Fatal(err)
	}
	header, data := bus.EncodeSegment([]bus.Frame{frame, frame})
	for subject, data := range map[string][]byte{
		bus.OutcomeSubject(bus.Notice, 0): data[:len(data)-1], "outcome.notice.9": data, "outcome.notice.x": data,
	} {
		if _, err := w.js.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: header, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	w.append(bus.Notice, 0, hopeless)
	last := w.failed()
	w.awaitCursor(0, w.append(bus.Notice, 0, last))
	keys := w.gateway.keys()
	for _, o := range []*eventv1.Outcome{good, cut, last} {
		if !slices.Contains(keys, key(o)) || len(keys) != 3 {
			t.Errorf("notifications %v", keys)
		}
	}
	log := w.log.String()
	if n := strings.Count(log, "outcome cannot be read"); n != 5 {
		t.Errorf("%d unreadable outcomes reported, want 5:\n%s", n, log)
	}
	if !strings.Contains(log, "notification cannot be made") || strings.Contains(log, "no address") {
		t.Errorf("an outcome without a usable sender is not reported, or its address is:\n%s", log)
	}
}

func TestO01_NotificationJoinsTheTraceOfItsMessage(t *testing.T) {
	w := newWorld(t, 1)
	w.start()
	o := w.failed()
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	o.Trace = &eventv1.TraceContext{Traceparent: "00-" + traceID + "-b7ad6b7169203331-01"}
	w.awaitCursor(0, w.append(bus.Notice, 0, o))
	w.gateway.await(t, 1)
	w.stopMail()
	type span struct{ id, parent string }
	byName := map[string]span{}
	for _, s := range w.spans.Ended() {
		if s.SpanContext().TraceID().String() != traceID {
			continue
		}
		name := s.Name()
		if s.SpanKind() == trace.SpanKindServer {
			name += " server"
		}
		byName[name] = span{s.SpanContext().SpanID().String(), s.Parent().SpanID().String()}
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.String(), "@") {
				t.Errorf("span %s: attribute %s holds an address: %s", name, a.Key, a.Value.String())
			}
		}
	}
	for _, name := range []string{"dsn.decide", "dsn.compose", "dsn.submit"} {
		if byName[name].parent != "b7ad6b7169203331" {
			t.Errorf("span %s: %+v, want one below the message's", name, byName[name])
		}
	}
	const call = "postrider.gateway.v1.MailService/Submit"
	if byName[call].parent != byName["dsn.submit"].id || byName[call+" server"].parent != byName[call].id || byName[call].id == "" {
		t.Errorf("the gateway's span is not below dsn.submit: %v", byName)
	}
}

func TestNewRefusesABadConfiguration(t *testing.T) {
	cfg := Default()
	cfg.From = "not a local part"
	_, err := New(t.Context(), cfg, runner.Env{})
	if fault, ok := errors.AsType[*config.Error](err); !ok || fault.Key != "dsn.from" {
		t.Errorf("New = %v", err)
	}
	if _, err := New(t.Context(), Default(), runner.Env{}); err == nil {
		t.Error("a service without NATS was built")
	}
}
