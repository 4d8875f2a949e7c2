// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// told notes events.
type told struct {
	held  chan string
	moved chan string
}

func newTold() *told { return &told{held: make(chan string, 100), moved: make(chan string, 100)} }

func (e *told) Settling(*eventv1.QueuedMail, *eventv1.Outcome, time.Time) {}
func (e *told) Moved(why string)                                          { e.moved <- why }
func (e *told) Held(place string, fault error)                            { e.held <- place + ": " + fault.Error() }

func events(e tenure.Events) change { return func(o *tenure.Options) { o.Events = e } }

func TestQ10_UndecodableEntriesAreHeldAndBlockNobody(t *testing.T) {
	w := newWorld(t, 1)
	// Not a segment; a segment cut short behind its first record; a record that is no QueuedMail.
	_, err := w.js.PublishMsg(w.ctx, &nats.Msg{Subject: bus.MailSubject(0), Data: []byte("noise")})
	w.must(err)
	var frames []bus.Frame
	for _, id := range []string{"cut1", "cut2"} {
		f, err := bus.FrameMail(mail(id, "ok@example.test"), []byte(content))
		w.must(err)
		frames = append(frames, f)
	}
	h, data := bus.EncodeSegment(frames)
	_, err = w.js.PublishMsg(w.ctx, &nats.Msg{Subject: bus.MailSubject(0), Header: h, Data: data[:len(data)-4]})
	w.must(err)
	w.publish(bus.MailSubject(0), []bus.Frame{{Meta: []byte{0xff, 0xff}, Content: []byte("left")}, frames[1]})
	w.submit(0, mail("good", "ok@example.test"))

	events1 := newTold()
	a := w.start("a", 0, deliver, events(events1))
	w.eventually("six outcomes", func() bool { return len(w.outcomes()) == 6 })
	ids := make(map[string]bool)
	for _, o := range w.outcomes() {
		ids[o.GetId()] = true
	}
	for _, id := range []string{"cut1.1.1", "cut2.1.1", "good.1.1", "unreadable.MAIL.1.0", "unreadable.MAIL.2.1", "unreadable.MAIL.3.0"} {
		if !ids[id] {
			t.Errorf("no outcome %s in %v", id, ids)
		}
	}
	for range 3 {
		if place := <-events1.held; !strings.HasPrefix(place, "MAIL/") {
			t.Errorf("alarm for %s", place)
		}
	}
	var kept [][]byte
	w.each(bus.StreamPark, func(_ bus.Delivery, f bus.Frame) { kept = append(kept, f.Content) })
	if len(kept) != 3 || !containsAll(kept, []byte("noise"), data[:len(data)-4], []byte("left")) {
		t.Errorf("bytes kept for an operator: %d pieces", len(kept))
	}
	if !a.stop() {
		t.Error("not clean")
	}
	// The next owner holds nothing again.
	w.submit(0, mail("last", "ok@example.test"))
	w.start("b", 0, deliver)
	w.eventually("a seventh outcome", func() bool { return len(w.outcomes()) >= 7 })
	if n := len(w.outcomes()); n != 7 {
		t.Errorf("%d outcomes", n)
	}
}

func containsAll(have [][]byte, want ...[]byte) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || bytes.Contains(h, w)
		}
		if !found {
			return false
		}
	}
	return true
}

// bodies is a body store of one content.
type bodies map[string]string

func (b bodies) Open(_ context.Context, ref string) (io.ReadSeekCloser, error) {
	text, ok := b[ref]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{strings.NewReader(text), io.NopCloser(nil)}, nil
}

func TestQ10_ARecordWhoseBodyIsMissingIsHeldNotSentEmpty(t *testing.T) {
	w := newWorld(t, 1)
	gone, there := mail("gone", "ok@example.test"), mail("there", "bounce-1@example.test")
	gone.Content.BodyRef, there.Content.BodyRef = "file:gone", "file:there"
	e := newTold()
	w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		body, err := r.Open()
		o := answer(r)
		if err != nil {
			o.Results[0].State = held
			o.Results[0].Failure = &eventv1.Failure{Reason: "body_missing"}
			return o
		}
		_ = body.Close()
		return o
	}, events(e), func(o *tenure.Options) { o.Bodies = bodies{"file:there": content} })
	w.submit(0, gone, there)
	w.finals(2)
	if place := <-e.held; !strings.Contains(place, "body_missing") {
		t.Errorf("alarm %q", place)
	}
	parked := w.copies(bus.StreamPark)
	if len(parked) != 1 || parked[0].GetMessageId() != "gone" || parked[0].GetMovedFor() != "hold" {
		t.Errorf("parked: %v", parked)
	}
	w.each(bus.StreamOutcome, func(d bus.Delivery, f bus.Frame) {
		o, err := f.Outcome()
		w.must(err)
		if o.GetMessageId() != "there" {
			return
		}
		if d.Subject != bus.OutcomeSubject(bus.Notice, 0) || string(f.Content) != content[:15] || o.GetReturnsFullContent() {
			t.Errorf("behind the bounce on %s stands %q", d.Subject, f.Content)
		}
	})
}

func TestD08_TheWholeContentStandsBehindABounceWithRetFull(t *testing.T) {
	w := newWorld(t, 1)
	m := mail("m1", "bounce-1@example.test")
	m.Envelope.Ret = eventv1.Ret_RET_FULL
	w.submit(0, m, mail("m2", "ok@example.test"))
	w.start("a", 0, deliver)
	w.finals(2)
	w.each(bus.StreamOutcome, func(d bus.Delivery, f bus.Frame) {
		o, err := f.Outcome()
		w.must(err)
		want := ""
		if o.GetMessageId() == "m1" {
			want = content
		}
		if string(f.Content) != want || o.GetReturnsFullContent() != (want != "") {
			t.Errorf("behind %s stands %q", o.GetId(), f.Content)
		}
	})
}
