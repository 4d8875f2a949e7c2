// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// history shows everything the streams still have about the messages named in the lines, and who owned the partitions
// meanwhile.
func (w *world) history(js jetstream.JetStream, lines []string) string {
	ctx := w.t.Context()
	ids := map[string]bool{}
	for _, line := range lines[:min(len(lines), 10)] {
		id, _, _ := strings.Cut(line, " ")
		ids[strings.TrimPrefix(id, "s-")] = true
	}
	minutes, err := bus.RetryStreams(ctx, js)
	w.must(err)
	streams := make([]string, 0, len(minutes)+3)
	streams = append(streams, bus.StreamMail)
	for _, m := range minutes {
		streams = append(streams, bus.RetryStream(m))
	}
	var text strings.Builder
	for _, stream := range append(streams, bus.StreamPark, bus.StreamOutcome) {
		if err := tell(ctx, js, stream, ids, &text); err != nil {
			fmt.Fprintf(&text, "%s: %v\n", stream, err)
		}
	}
	return text.String()
}

// tell writes a line for each record or outcome of the messages in a stream, and for each takeover.
func tell(ctx context.Context, js jetstream.JetStream, stream string, ids map[string]bool, text *strings.Builder) error {
	r, err := bus.NewReader(ctx, js, bus.ReaderOptions{Stream: stream})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return r.ReadToEnd(ctx, func(d bus.Delivery) error {
		at := fmt.Sprintf("%s %d %s", d.Subject, d.Sequence, d.Time.Format("15:04:05.000"))
		if owner := d.Takeover(); owner != "" && stream == bus.StreamOutcome {
			fmt.Fprintf(text, "%s taken over by %s\n", at, owner)
		}
		for i := range d.Segment.Len() {
			frame, err := d.Segment.Frame(i)
			if err != nil {
				return err
			}
			if stream == bus.StreamOutcome {
				o, err := frame.Outcome()
				if err == nil && ids[header(o.GetContent())] {
					fmt.Fprintf(text, "%s/%d %s of %v: %s\n", at, i, o.GetId(), o.GetSource(), results(o))
				}
				continue
			}
			m, err := frame.Mail()
			if err == nil && ids[header(m.GetContent())] {
				fmt.Fprintf(text, "%s/%d %s hop %d attempt %d %s from %v marked %v\n", at, i, bus.RecordID(m), m.GetHop(),
					m.GetAttempt(), m.GetMovedFor(), m.GetSource(), m.GetPossibleDuplicate())
			}
		}
		return nil
	})
}

func header(c *eventv1.Content) string { return strings.Trim(c.GetMessageIdHeader(), "<>") }

func results(o *eventv1.Outcome) string {
	all := make([]string, 0, len(o.GetResults()))
	for _, r := range o.GetResults() {
		word := strings.TrimPrefix(r.GetState().String(), "RECIPIENT_STATE_")
		if r.GetPossibleDuplicate() {
			word += " marked"
		}
		all = append(all, r.GetRecipient().GetAddress()+" "+word)
	}
	return strings.Join(all, ", ")
}
