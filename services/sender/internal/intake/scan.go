// SPDX-License-Identifier: Apache-2.0

package intake

import (
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/ledger"
	"github.com/postrider/postrider/services/sender/internal/progress"
)

// What a scan copies on was not read: it has no segment of the tracker. So that a later owner finds the copies, the fold
// is pinned from before they are stored until what makes them findable otherwise is: the progress of the scan, or the
// end of the segment in PARK.

// Pin keeps the fold of a later owner at or below what is stored from now on, until Unpin.
func (d *Desk) Pin() *progress.Pin { return d.tracker.Pin() }

// Unpin takes a pin back.
func (d *Desk) Unpin(p *progress.Pin) { d.tracker.Unpin(p) }

// State returns what former owners stored for the record at a place that this owner has not read, and the outcome from
// which it is to be carried on when it is Deferred.
func (d *Desk) State(p ledger.Place) (ledger.State, *eventv1.Outcome) {
	return d.ledger.State(p), d.ledger.Deferral(p)
}

// Reopen forgets that the record at p was copied on: the progress of the scan says so now.
func (d *Desk) Reopen(p ledger.Place) {
	d.ledger.Reopen(p)
	d.useUp()
}

// Gone forgets a segment that is not there any more.
func (d *Desk) Gone(stream string, sequence uint64) {
	d.ledger.Forget(stream, sequence)
	d.useUp()
}

// Noted returns the segments of a stream of which former owners stored something, in order.
func (d *Desk) Noted(stream string) []uint64 { return d.ledger.Noted(stream) }

// Doubtful reports whether a former owner may have attempted a record of an unread segment without storing the outcome:
// a copy of it is marked then. It is told of more records than Marking would mark, since it is asked out of order.
func (d *Desk) Doubtful(stream string, sequence uint64) bool {
	return d.marking.Doubtful(stream, sequence)
}
