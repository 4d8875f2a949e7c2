// SPDX-License-Identifier: Apache-2.0

// Package lookup finds what became of a message in the stream of outcomes, and which of its notifications wait to be told
// in a list.
//
// It owns the reading for one question, which costs as much as the stream has grown since the message was accepted. It
// keeps nothing, and decides nothing.
package lookup

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	// skew is how far the clock that gave the id may be ahead of the store's.
	skew = 5 * time.Minute
	// maxOutcomes is how many outcomes of a message are returned at most: the last ones.
	maxOutcomes = 200
)

// Found is one outcome.
type Found struct {
	Outcome *eventv1.Outcome
	// Original is what stands behind it: what its notification may return.
	Original []byte
	// StoredAt is when it was stored, by the store's clock.
	StoredAt time.Time
	// Waiting holds, by kind, the recipients (positions in the results) that wait to be told in a list.
	Waiting map[string][]int
}

// Outcomes returns the outcomes of a message, or the one with the id of an outcome, in the order in which they were
// stored. valid is false for what is neither kind of id. Outcomes that were trimmed are not found.
func Outcomes(ctx context.Context, js jetstream.JetStream, id string) (found []Found, valid bool, err error) {
	messageID, _, one := strings.Cut(id, ".")
	parsed, err := ulid.ParseStrict(messageID)
	if err != nil {
		return nil, false, nil
	}
	r, err := bus.NewReader(ctx, js, bus.ReaderOptions{
		Stream: bus.StreamOutcome, Since: ulid.Time(parsed.Time()).Add(-skew),
	})
	if err != nil {
		return nil, true, fmt.Errorf("look up outcomes: %w", err)
	}
	defer func() { _ = r.Close() }() // the server forgets its side of it anyway
	err = r.ReadToEnd(ctx, func(d bus.Delivery) error {
		for i := range d.Segment.Len() {
			f, err := d.Segment.Frame(i)
			if err != nil || !bytes.Contains(f.Meta, []byte(messageID)) {
				continue // what cannot be read was reported by who handled it
			}
			o, err := f.Outcome()
			if err != nil || o.GetMessageId() != messageID || one && o.GetId() != id {
				continue
			}
			found = append(found, Found{Outcome: o, Original: bytes.Clone(f.Content), StoredAt: d.Time})
			if len(found) > maxOutcomes {
				found = found[1:]
			}
		}
		return nil
	})
	if err != nil {
		return nil, true, fmt.Errorf("look up outcomes: %w", err)
	}
	return found, true, waiting(ctx, js, found)
}

// waiting notes which recipients wait to be told.
func waiting(ctx context.Context, js jetstream.JetStream, found []Found) error {
	windows, _, err := bus.JoinedWindows(ctx, js)
	if err != nil || len(windows) == 0 || len(found) == 0 {
		return err
	}
	at := map[string]*Found{}
	for i := range found {
		found[i].Waiting = map[string][]int{}
		at[found[i].Outcome.GetId()] = &found[i]
	}
	r, err := bus.NewReader(ctx, js, bus.ReaderOptions{Stream: bus.StreamJoined})
	if err != nil {
		return fmt.Errorf("look up joined notifications: %w", err)
	}
	defer func() { _ = r.Close() }() // the server forgets its side of it anyway
	return r.ReadToEnd(ctx, func(d bus.Delivery) error {
		for i := range d.Segment.Len() {
			f, err := d.Segment.Frame(i)
			if err != nil {
				continue
			}
			n, err := f.Joined()
			if err != nil || at[n.GetOutcomeId()] == nil {
				continue
			}
			for _, recipient := range n.GetRecipients() {
				kinds := at[n.GetOutcomeId()].Waiting
				kinds[n.GetKind()] = append(kinds[n.GetKind()], int(recipient.GetIndex()))
			}
		}
		return nil
	})
}
