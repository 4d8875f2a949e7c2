// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
)

// eachReply is what every reply of an envelope adds to the time of all (S-05).
const eachReply = 10 * time.Second

// patience bounds the time for all replies to MAIL, RCPT and DATA of a message together. Each has its own limit (RFC
// 5321, section 4.5.3.2); a host that uses it up for one recipient after the other would hold a connection for hours.
// So one reply of each kind may take its whole time, and all others ten seconds on average: 29 minutes for 100
// recipients.
type patience struct {
	allowed, spent time.Duration
}

func newPatience(t *Timeouts) patience {
	return patience{allowed: t.Mail.Std() + t.Rcpt.Std() + t.Data.Std()}
}

// reply awaits a reply to MAIL, RCPT or DATA for timeout, or for what is left of the patience with the host.
func (d *delivery) reply(ctx context.Context, stage smtpreply.Stage, timeout time.Duration) (rawReply, *smtpreply.Error) {
	p := &d.patience
	p.allowed += eachReply
	began := time.Now()
	reply, fail := d.c.await(ctx, stage, min(timeout, p.allowed-p.spent))
	p.spent += time.Since(began)
	return reply, fail
}
