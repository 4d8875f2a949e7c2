// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"time"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/progress"
)

// Desk is what an owner knows of its partition.
type Desk struct {
	minutes []int
	window  int
	ledger  *ledger.Ledger
	tracker *progress.Tracker
	marking *progress.Marking
	rules   Rules
	// carried are the places of copies this owner has stored of records in an attempt, and not read again; true when the
	// record is settled since.
	carried map[ledger.Place]bool
}

// Options say where a desk begins.
type Options struct {
	// Minutes are the RETRY streams that exist, in rising order.
	Minutes []int
	// Window is the number of records held at most.
	Window int
	// Former is the checkpoint of the former owner; nil when there was none.
	Former *eventv1.Checkpoint
	// Last holds, for each stream that is read, the last sequence the former owner can have read.
	Last map[string]uint64
	// Ledger is what was settled above Former's floors.
	Ledger *ledger.Ledger
	// Rules are the operators' changes; nil when there are none.
	Rules Rules
}

// New returns a desk.
func New(o Options) *Desk {
	d := &Desk{
		minutes: o.Minutes,
		window:  o.Window,
		ledger:  o.Ledger,
		rules:   o.Rules,
		tracker: progress.New(Reading(o.Minutes), Folded(o.Minutes), o.Window, o.Former),
		marking: progress.NewMarking(o.Former, o.Last),
		carried: make(map[ledger.Place]bool),
	}
	d.useUp()
	return d
}

// Reading returns the streams an owner reads.
func Reading(minutes []int) []string {
	streams := make([]string, 0, 1+len(minutes))
	streams = append(streams, bus.StreamMail)
	for _, m := range minutes {
		streams = append(streams, bus.RetryStream(m))
	}
	return streams
}

// Folded returns the streams a ledger is folded from, moves before outcomes as ledger.Ledger wants them.
func Folded(minutes []int) []string {
	return append(Reading(minutes)[1:], bus.StreamPark, bus.StreamOutcome)
}

// Moment is now, by the server's clock and by this process's monotonic one.
type Moment struct {
	Server, Local time.Time
	// Due is when the segment came due, by Local's clock. Only for a segment of a RETRY stream.
	Due time.Time
}

// Read takes a segment in and says what becomes of each of its records that is not settled. The segments of one stream
// come in order. It returns a nil segment when all is settled.
func (d *Desk) Read(del bus.Delivery, at Moment) (*progress.Segment, []Disposition) {
	var open []Disposition
	for i := range del.Segment.Len() {
		if disposition := d.judge(del, i, at); disposition.Kind != Skip {
			open = append(open, disposition)
		}
	}
	records := del.Segment.Len()
	if del.Err != nil {
		if rest := d.unreadable(del); rest.Kind != Skip {
			open = append(open, rest)
		}
		records++
	}
	past := d.ledger.Knows(del.Stream, del.Sequence)
	g := d.tracker.Read(del.Stream, del.Sequence, records, len(open), int64(len(del.Data)), past, at.Server)
	d.ledger.Passed(del.Stream, del.Sequence)
	d.useUp()
	return g, open
}

func (d *Desk) useUp() {
	if d.ledger.Empty() {
		d.tracker.PastRead()
	}
}

// Settled notes that one more record of a segment is settled.
func (d *Desk) Settled(g *progress.Segment) { d.tracker.Settled(g) }

// Carried notes that one record of a segment lives on in a copy that lies at p, unread, while it is still in an attempt
// here (queue.md, section 4). Its outcome has to name p as the place it settles.
func (d *Desk) Carried(g *progress.Segment, p ledger.Place) {
	d.tracker.Ahead(p.Stream, p.Sequence)
	d.carried[p] = false
	d.tracker.Settled(g)
}

// Concluded notes that what this owner has carried to p is settled, and that the copy there has not been read.
func (d *Desk) Concluded(p ledger.Place) { d.carried[p] = true }

// Stragglers returns the segments that were read at or before old, and those, read at or before young, that hold their
// stream's floor back by more than half the window, by the server's clock.
func (d *Desk) Stragglers(old, young time.Time) []*progress.Segment {
	return d.tracker.Stragglers(old, young)
}

// Reached notes that a stream has stored a message at sequence.
func (d *Desk) Reached(stream string, sequence uint64) { d.tracker.Reached(stream, sequence) }

// Next returns the first sequence of a stream that was not read yet.
func (d *Desk) Next(stream string) uint64 { return d.tracker.Next(stream) }

// Idle notes that the partition had nothing at or above unread of a stream when the stream's last sequence was last:
// mine is the last one of the partition itself, asked for after last. Then the floor need not wait for mail of this
// partition to come by.
func (d *Desk) Idle(stream string, last, mine uint64) {
	d.tracker.Reached(stream, last)
	if mine < d.tracker.Next(stream) {
		d.tracker.Passed(stream, last+1)
	}
}

// Held returns how many records are read and not settled, and the bytes their segments take.
func (d *Desk) Held() (records int, bytes int64) { return d.tracker.Held() }

// Oldest returns when the oldest segment with an open record was read, by the server's clock.
func (d *Desk) Oldest() (at time.Time, ok bool) { return d.tracker.Oldest() }

// Room reports whether a segment of so many records and bytes of a stream may be read now. MAIL and the RETRY streams
// may each fill three quarters of the window, so that neither keeps the other out, and a segment that does not fit may
// be read when nothing else is held. When the ledger of an owner that took over now would pass ledgerBytes, nothing is
// read: it could not remember more. unsaid reports that there is room, but that a checkpoint has to say so first.
func (d *Desk) Room(stream string, records int, bytes, windowBytes, ledgerBytes int64) (ok, unsaid bool) {
	if !d.fits(stream, records, bytes, windowBytes, ledgerBytes) {
		return false, false
	}
	granted := d.tracker.Granted(stream, records)
	return granted, !granted
}

func (d *Desk) fits(stream string, records int, bytes, windowBytes, ledgerBytes int64) bool {
	held, heldBytes := d.tracker.Held()
	kind, kindBytes := d.tracker.HeldOf(bus.StreamMail)
	if stream != bus.StreamMail {
		kind, kindBytes = held-kind, heldBytes-kindBytes
	}
	switch {
	case held == 0:
		return true
	case d.tracker.Span() >= ledgerBytes || held+records > d.window:
		return false
	case kind == 0:
		return true
	default:
		return kind+records <= d.window/4*3 && kindBytes+bytes <= windowBytes/4*3 && heldBytes+bytes <= windowBytes
	}
}

// Offered notes that a checkpoint of this desk is about to be stored, and Stored that it was, at a sequence of OUTCOME.
func (d *Desk) Offered(c *eventv1.Checkpoint) { d.tracker.Offered(c) }

// Stored is told of each checkpoint that was offered and stored.
func (d *Desk) Stored(c *eventv1.Checkpoint, sequence uint64) { d.tracker.Stored(c, sequence) }

// Checkpoint returns what a later owner needs to go on. now is the server's clock. It is clean only when the caller says
// that nothing is in flight, and nothing is owed to marks any more. unconfirmed holds, by stream, a sequence behind
// which a segment may lie whose answer was lost: the floor stays below it, or the segment could be read, settled and
// purged before its repetition finds it.
func (d *Desk) Checkpoint(now time.Time, clean bool, unconfirmed map[string]uint64) *eventv1.Checkpoint {
	c := d.tracker.Checkpoint(now)
	owed := d.marking.Owed(d.tracker.Floor)
	if len(owed) > 0 {
		c.Window = max(c.Window, uint32(d.marking.Window()))
	}
	c.Clean = clean && len(owed) == 0
	for _, f := range c.GetFloors() {
		f.Held = new(max(f.GetHeld(), uint32(owed[f.GetStream()])))
		if after, ok := unconfirmed[f.GetStream()]; ok {
			f.Sequence = min(f.Sequence, after+1)
		}
	}
	return c
}
