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

	"github.com/postrider/postrider/services/sender/internal/settle"
)

// openFor bounds opening a content in the body store.
const openFor = 30 * time.Second

// hold sets aside a record that cannot be attempted: its bytes go to PARK, where an operator finds them, and then
// its outcome says held. t.moving counts it.
func (t *Tenure) hold(r *Record, why settle.HeldReason, fault error) {
	t.tellHeld(r, fault)
	o := settle.Held(r.Mail, r.at, why, t.opts.Clock.Estimate())
	t.parkUnreadable(r, func() { t.storeOutcome(r, o, func() { t.settled(r) }) })
}

func (t *Tenure) tellHeld(r *Record, fault error) {
	if t.opts.Events != nil {
		t.opts.Events.Held(fmt.Sprintf("%s/%d/%d", r.Place.Stream, r.Place.Sequence, r.Place.Index), fault)
	}
}

// open returns the content of a record.
func (t *Tenure) open(r *Record) (io.ReadSeekCloser, error) {
	ref := r.Mail.GetContent().GetBodyRef()
	if ref == "" {
		t.mu.Lock()
		defer t.mu.Unlock()
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
