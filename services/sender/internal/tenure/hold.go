// SPDX-License-Identifier: Apache-2.0

package tenure

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/due"
	"github.com/postrider/postrider/services/sender/internal/settle"
)

// unreadableDestination is where in PARK lies what names no destination.
const unreadableDestination = "unreadable"

// openFor bounds opening a content in the body store.
const openFor = 30 * time.Second

// hold sets aside a record that cannot be attempted: its bytes go to PARK, where an operator finds them, and then
// its outcome says held. t.moving counts it.
func (t *Tenure) hold(r *Record, why settle.HeldReason, fault error) {
	t.tellHeld(r, fault)
	if !t.park(r) {
		return
	}
	o := settle.Held(r.Mail, r.Place, why, t.opts.Clock.Estimate())
	f, err := bus.FrameOutcome(o)
	if err != nil {
		t.fail(err)
		return
	}
	t.append(t.outcomes[bus.Quiet], f, settle.ForHold, func() { t.settled(r) })
}

func (t *Tenure) tellHeld(r *Record, fault error) {
	if t.opts.Events != nil {
		t.opts.Events.Held(fmt.Sprintf("%s/%d/%d", r.Place.Stream, r.Place.Sequence, r.Place.Index), fault)
	}
}

// park stores a record in PARK and waits for it. After a crash it may lie there twice, which does no harm: what is held
// is not sent until an operator releases it. It reports whether it is stored.
func (t *Tenure) park(r *Record) bool {
	destination := r.Mail.GetDestination()
	if r.Mail == nil {
		destination = unreadableDestination
	}
	mail := r.Mail
	if mail == nil {
		mail = &eventv1.QueuedMail{}
	}
	crashpoint.At("sender.park.before")
	f, err := t.frame(r, settle.Copy(mail, r.Place, settle.ForHold, due.Wait{}))
	if err == nil {
		a := bus.NewAppender(t.opts.JS, bus.AppenderOptions{
			Subjects: []string{bus.ParkSubject(t.opts.Partition, destination)}, RetryFor: bus.Forever,
		})
		_, err = a.Append(t.attempts, []bus.Frame{f})
		ctx, cancel := context.WithCancel(t.attempts)
		cancel() // nothing waits any more
		_ = a.Close(ctx)
	}
	if err != nil {
		t.opts.Log.Error("a record cannot be set aside", slog.Any("error", err))
		t.fail(fmt.Errorf("park: %w", err))
	}
	crashpoint.At("sender.park.after")
	return err == nil
}

// open returns the content of a record.
func (t *Tenure) open(r *Record) (io.ReadSeekCloser, error) {
	ref := r.Mail.GetContent().GetBodyRef()
	if ref == "" {
		return inline{bytes.NewReader(r.content)}, nil
	}
	if t.opts.Bodies == nil {
		return nil, fmt.Errorf("open content: no body store: %w", fs.ErrNotExist)
	}
	ctx, cancel := context.WithTimeout(t.attempts, openFor)
	defer cancel()
	body, err := t.opts.Bodies.Open(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	return body, nil
}

// inline is a content that stands in its segment.
type inline struct{ *bytes.Reader }

func (inline) Close() error { return nil }

// beginning returns the first n bytes of a content, for a notification. When they cannot be read the notification goes
// out without them.
func (t *Tenure) beginning(r *Record, n int64) []byte {
	if n == 0 {
		return nil
	}
	body, err := t.open(r)
	if err == nil {
		defer func() { _ = body.Close() }()
		part := make([]byte, n)
		if _, err = io.ReadFull(body, part); err == nil {
			return part
		}
	}
	t.opts.Log.Warn("what a notification returns of the message cannot be read",
		slog.String("message_id", r.Mail.GetMessageId()), slog.Any("error", err))
	return nil
}
