// SPDX-License-Identifier: Apache-2.0

package idempotency

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

func submission(change ...func(*gatewayv1.Envelope)) *gatewayv1.Envelope {
	e := &gatewayv1.Envelope{
		Sender: "a@example.org", Tenant: "t", IdempotencyKey: "key",
		Recipients: []*gatewayv1.Recipient{{Address: "b@example.com"}, {Address: "c@example.com"}},
	}
	for _, c := range change {
		c(e)
	}
	return e
}

func TestG12_DigestIsOverWhatWasSubmitted(t *testing.T) {
	content := []byte("digest of the content")
	base := Digest(submission(), content)
	same := map[string][]byte{
		"again":               Digest(submission(), content),
		"the key itself":      Digest(submission(func(e *gatewayv1.Envelope) { e.IdempotencyKey = "other" }), content),
		"whether partial":     Digest(submission(func(e *gatewayv1.Envelope) { e.Partial = true }), content),
		"where the loop goes": Digest(submission(func(e *gatewayv1.Envelope) { e.ReportsOnLoop = &eventv1.LoopTrace{HopNumber: 1} }), content),
	}
	for name, d := range same {
		if !bytes.Equal(d, base) {
			t.Errorf("%s changes the digest", name)
		}
	}
	seen := map[string]string{string(base): "base"}
	for name, d := range map[string][]byte{
		"content":        Digest(submission(), []byte("another")),
		"sender":         Digest(submission(func(e *gatewayv1.Envelope) { e.Sender = "x@example.org" }), content),
		"tenant":         Digest(submission(func(e *gatewayv1.Envelope) { e.Tenant = "" }), content),
		"tag":            Digest(submission(func(e *gatewayv1.Envelope) { e.Tag = "t" }), content),
		"envid":          Digest(submission(func(e *gatewayv1.Envelope) { e.Envid = "t" }), content),
		"priority":       Digest(submission(func(e *gatewayv1.Envelope) { e.Priority = 1 }), content),
		"ret":            Digest(submission(func(e *gatewayv1.Envelope) { e.Ret = 1 }), content),
		"require_tls":    Digest(submission(func(e *gatewayv1.Envelope) { e.RequireTls = true }), content),
		"not_before":     Digest(submission(func(e *gatewayv1.Envelope) { e.NotBefore = &timestamppb.Timestamp{} }), content),
		"not_before at":  Digest(submission(func(e *gatewayv1.Envelope) { e.NotBefore = &timestamppb.Timestamp{Seconds: 1} }), content),
		"recipients":     Digest(submission(func(e *gatewayv1.Envelope) { e.Recipients = e.Recipients[:1] }), content),
		"order":          Digest(submission(func(e *gatewayv1.Envelope) { e.Recipients[0], e.Recipients[1] = e.Recipients[1], e.Recipients[0] }), content),
		"orcpt":          Digest(submission(func(e *gatewayv1.Envelope) { e.Recipients[0].Orcpt = "rfc822;x" }), content),
		"orcpt of other": Digest(submission(func(e *gatewayv1.Envelope) { e.Recipients[1].Orcpt = "rfc822;x" }), content),
		"notify":         Digest(submission(func(e *gatewayv1.Envelope) { e.Recipients[0].Notify = []eventv1.Notify{1} }), content),
		"reports_on":     Digest(submission(func(e *gatewayv1.Envelope) { e.ReportsOn = "01HX" }), content),
	} {
		if other, double := seen[string(d)]; double {
			t.Errorf("%s gives the digest of %s", name, other)
		}
		seen[string(d)] = name
	}
}

// memory is a Memory with one message in it.
type memory struct {
	earlier Earlier
	found   bool
	err     error
	since   time.Time
}

func (m *memory) Current() error { return m.err }

func (m *memory) FindKey(_ context.Context, _ []byte, since time.Time) (Earlier, bool, error) {
	m.since = since
	return m.earlier, m.found, m.err
}

// At makes memory a Log as well.
func (m *memory) At(context.Context, bus.Position) (Earlier, error) { return m.earlier, m.err }

func TestG12_FirstAnswerOrKeyReused(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	m := &memory{earlier: Earlier{MessageID: "01HX", Digest: []byte("d"), Recipients: 2}, found: true}
	k := New(m, m)
	got, found, err := k.Before(t.Context(), nil, []byte("d"), now)
	if err != nil || !found || got.MessageID != "01HX" {
		t.Errorf("same content: %+v, %v, %v", got, found, err)
	}
	if !m.since.Equal(now.Add(-24 * time.Hour)) {
		t.Errorf("asked back to %v", m.since)
	}
	_, _, before := k.Before(t.Context(), nil, []byte("other"), now)
	_, after := k.After(t.Context(), bus.Position{}, []byte("other"))
	for _, err := range []error{before, after} {
		e, ok := errors.AsType[*rpc.Error](err)
		if !ok || e.Code != codes.AlreadyExists || e.Reason != ReasonKeyReused || e.Fields[0].Field != "envelope.idempotency_key" {
			t.Errorf("other content: %v", err)
		}
	}
	m.err = errors.New("behind")
	_, _, before = k.Before(t.Context(), nil, nil, now)
	_, after = k.After(t.Context(), bus.Position{}, nil)
	for _, err := range []error{before, after, k.Ready()} {
		e, ok := errors.AsType[*rpc.Error](err)
		if !ok || e.Code != codes.Unavailable || e.Reason != ReasonKeysBehind || e.RetryAfter <= 0 {
			t.Errorf("memory behind: %v", err)
		}
	}
}

func TestFromSegmentCountsOneMessage(t *testing.T) {
	frame := func(id string, recipients int) bus.Frame {
		f, err := bus.FrameMail(&eventv1.QueuedMail{
			MessageId: id, AcceptedAt: timestamppb.New(time.Unix(5, 0)), SubmitDigest: []byte(id),
			Envelope: &eventv1.Envelope{Recipients: make([]*eventv1.Recipient, recipients)},
		}, []byte("content"))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	segment, err := bus.DecodeSegment(bus.EncodeSegment([]bus.Frame{frame("A", 2), frame("A", 3), frame("B", 9), frame("", 1)}))
	if err != nil {
		t.Fatal(err)
	}
	for index, want := range map[int]Earlier{0: {MessageID: "A", Recipients: 5}, 1: {MessageID: "A", Recipients: 3}, 2: {MessageID: "B", Recipients: 9}} {
		got, err := FromSegment(segment, index)
		if err != nil || got.MessageID != want.MessageID || got.Recipients != want.Recipients || string(got.Digest) != want.MessageID || got.AcceptedAt.Unix() != 5 {
			t.Errorf("at %d: %+v, %v", index, got, err)
		}
	}
	for _, index := range []int{3, 4, -1} {
		if got, err := FromSegment(segment, index); err == nil {
			t.Errorf("at %d: %+v", index, got)
		}
	}
}
