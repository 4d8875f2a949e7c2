// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
)

// approach is what earlier connections to the same address have taught.
type approach struct {
	helo    bool   // EHLO made the host hang up: HELO only (S-22)
	clear   bool   // the TLS handshake failed: no STARTTLS (S-37)
	finding string // why clear is set
	full    bool   // a TLS session could not be resumed
}

// Dial opens a session with the host at o.Address: connect, greeting, EHLO or HELO, STARTTLS by policy, AUTH where asked for. It makes
// further connections to the same address, one for each, when a host hangs up at EHLO, when a TLS session cannot be resumed
// and when an opportunistic handshake fails.
//
// The Conn is never nil. After a failure it is closed and only tells how far the session came.
func Dial(ctx context.Context, o Options) (*Conn, *smtpreply.Error) {
	var how approach
	var before []string
	for {
		c := &Conn{o: &o, how: how, timer: stoppedTimer(), preceding: before}
		fail := c.open(ctx)
		if fail == nil {
			c.state, c.began = stateReady, time.Now()
			return c, nil
		}
		next, again := c.learn(fail)
		c.Quit()
		if !again || ctx.Err() != nil {
			return c, fail
		}
		how, before = next, c.Transcript()
	}
}

// open goes through the phases.
func (c *Conn) open(ctx context.Context) *smtpreply.Error {
	if fail := c.connect(ctx); fail != nil {
		return fail
	}
	if fail := c.greeting(ctx); fail != nil {
		return fail
	}
	if fail := c.hello(ctx); fail != nil {
		return fail
	}
	if fail := c.secure(ctx); fail != nil {
		return fail
	}
	return c.auth(ctx)
}

// learn says whether, and how, another connection to the same address may help.
func (c *Conn) learn(fail *smtpreply.Error) (next approach, again bool) {
	next = c.how
	switch {
	case fail.Stage == smtpreply.StageEhlo && fail.Reason == smtpreply.ReasonConnectionLost && c.secured == nil:
		next.helo = true
		return next, !c.how.helo && !c.o.TLS.required()
	case fail.Stage == smtpreply.StageTLS && fail.Reason == smtpreply.ReasonTLSFailed && c.resuming:
		next.full = true // crypto/tls has forgotten the session: a full handshake follows
		return next, !c.how.full
	case fail.Stage == smtpreply.StageTLS && c.o.TLS.Mode == TLSOpportunistic && fail.Reason == smtpreply.ReasonTLSFailed:
		next.clear, next.finding = true, "TLS handshake failed, sent in clear"
		return next, !c.how.clear
	}
	return next, false
}

// stoppedTimer makes a timer that Reset starts.
func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
