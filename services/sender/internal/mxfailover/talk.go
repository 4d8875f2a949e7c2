// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"context"
	"errors"
	"slices"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/pool"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

// talk gets a session with a candidate, kept or new, and hands the message over. The failure returned is why this
// candidate was left; nil when it took the message for those it was asked for, or answered them for good.
func (a *attempt) talk(ctx context.Context, i int, recipients []int, record *eventv1.HostTry) *smtpreply.Error {
	c := &a.plan[i]
	policy, fail := a.policy(c.of)
	if fail != nil {
		record.Stage = fail.Stage.Proto()
		a.leaveAll(recipients, verdict.Left{Host: c.host, Known: true, Failure: fail})
		return fail
	}
	o := a.options(i, policy)
	key := pool.KeyOf(&o)
	o.TLS.Sessions = a.w.Sessions.For(key)
	m := a.message(recipients)
	lease, err := a.w.Pool.Acquire(ctx, pool.Request{
		Site: a.mail.Site, Key: key,
		Message: func() *smtpclient.Message {
			if a.openBody() != nil {
				return nil
			}
			m.Body = a.body
			return m
		},
	})
	if err != nil {
		fail = a.noSession(ctx, c, recipients, err)
		record.Stage = fail.Stage.Proto()
		return fail
	}
	return a.use(ctx, &session{attempt: a, of: c, options: o, lease: lease, message: m, recipients: recipients, record: record})
}

// noSession is why there is no session though nobody tried to open one: the sender stops, the site is busy (S-74), or the
// host said 421 to the message before, which was for this one too (S-48).
func (a *attempt) noSession(ctx context.Context, c *candidate, recipients []int, err error) *smtpreply.Error {
	if dismissal, ok := errors.AsType[*pool.Dismissal](err); ok {
		fail := *dismissal.Failure
		fail.Stage = smtpreply.StageMail
		a.leaveAll(recipients, verdict.Left{Host: c.host, Reached: true, Known: true, Failure: &fail})
		return &fail
	}
	fail := &smtpreply.Error{Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonShutdown, Err: err}
	if ctx.Err() == nil {
		fail.Reason, fail.Detail = smtpreply.ReasonConnectionLimit, "no connection to the site was free in time"
	}
	a.over = fail
	return fail
}

// session is the use of one lease.
type session struct {
	*attempt
	of         *candidate
	options    smtpclient.Options
	lease      *pool.Lease
	message    *smtpclient.Message
	recipients []int
	record     *eventv1.HostTry
	came       pool.Use // what the lease came to
}

// use sends the message over a session. One that was kept and turns out dead before the message had an answer is replaced
// by a fresh one to the same address, which counts as no other attempt (S-72).
func (a *attempt) use(ctx context.Context, s *session) (fail *smtpreply.Error) {
	defer func() { s.release(fail) }()
	if s.lease.Kept {
		result, fail := s.send(ctx)
		if result == nil || !result.Untouched {
			a.budget.spend(s.of.host, nil, true)
			return s.judge(result, fail)
		}
		s.lease.Renew()
	}
	s.lease.Conn, fail = smtpclient.Dial(ctx, s.options)
	a.budget.spend(s.of.host, fail, s.lease.Conn.Greeted())
	if fail != nil {
		return s.notOpened(fail)
	}
	return s.judge(s.send(ctx))
}

// notOpened judges a session that could not be opened.
func (s *session) notOpened(fail *smtpreply.Error) *smtpreply.Error {
	switch {
	case fail.Reason == smtpreply.ReasonConnect, fail.Reason == smtpreply.ReasonNoGreeting:
		s.w.Memory.Failed(s.of.address)
		s.came = pool.Failed
	case fail.Code == 421:
		s.came = pool.Failed
	}
	// A host that has answered EHLO without STARTTLS has told all that a message with REQUIRETLS asks (S-41).
	known := fail.Reason == smtpreply.ReasonRequireTLSPolicy
	s.leaveAll(s.recipients, verdict.Left{Host: s.of.host, Known: known, Failure: fail})
	if verdict.NeedsOperator(fail) {
		s.over = fail
	}
	return fail
}

// send hands the message over. The result is nil when the content cannot be opened.
func (s *session) send(ctx context.Context) (*smtpclient.Result, *smtpreply.Error) {
	if fail := s.openBody(); fail != nil {
		return nil, fail
	}
	s.message.Body, s.message.Next = s.body, s.lease.Next
	return s.lease.Conn.Send(ctx, s.message), nil
}

// judge gives the recipients their verdicts and notes what is to be learned of the host.
func (s *session) judge(result *smtpclient.Result, fail *smtpreply.Error) *smtpreply.Error {
	if result == nil {
		s.over = fail
		return fail
	}
	s.record.BytesSent = uint64(result.ContentWritten)
	fail = s.attempt.judge(s.of, s.lease.Conn, s.recipients, result)
	taken := slices.ContainsFunc(result.Recipients, func(r smtpclient.RecipientResult) bool { return r.Failure == nil })
	switch {
	case s.lease.Conn.Farewell() != nil:
		s.came = pool.Failed
	case taken:
		s.came = pool.Delivered
		s.w.Memory.Worked(s.of.address)
	case fail != nil && fail.Stage == smtpreply.StageContent && fail.Reason == smtpreply.ReasonConnectionLost:
		s.w.Memory.Failed(s.of.address)
	}
	return fail
}

// release writes the record and gives the session back.
func (s *session) release(fail *smtpreply.Error) {
	conn := s.lease.Conn
	s.record.Stage, s.record.Tls = conn.Stage().Proto(), withFinding(conn.TLS(), s.of.of, s.mail.TLSOptional)
	if fail != nil {
		s.record.Stage = fail.Stage.Proto() // with PIPELINING the session may be further than what failed
		s.record.Transcript = conn.Transcript()
	}
	s.lease.Release(s.came)
}
