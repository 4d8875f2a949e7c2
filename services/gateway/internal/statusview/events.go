// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// Record shows the recipients of a record as it stands in a stream. due is when it comes out of its wait; the zero time
// for one of MAIL or PARK.
func Record(r *eventv1.QueuedMail, due time.Time) []*gatewayv1.RecipientStatus {
	p := new(part)
	if r.GetMovedFor() == "" {
		p.accepted(r)
	} else {
		p.moved(r, due)
	}
	return p.recipients()
}

// Outcome shows the recipients an outcome settled, and whether all of them are final.
func Outcome(o *eventv1.Outcome) (recipients []*gatewayv1.RecipientStatus, all bool) {
	p := new(part)
	p.settled(o)
	return p.recipients(), !p.doneAt.IsZero()
}

func (p *part) recipients() []*gatewayv1.RecipientStatus {
	list := make([]*gatewayv1.RecipientStatus, len(p.results))
	for i, r := range p.results {
		list[i] = p.recipient(r)
	}
	return list
}
