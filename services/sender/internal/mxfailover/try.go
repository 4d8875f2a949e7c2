// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

// What came after a host or address was left (HostTry.left_for).
const (
	leftForAddress   = "next_address"
	leftForHost      = "next_host"
	leftForDefer     = "defer"
	leftForBounce    = "bounce"
	leftForDelivered = "delivered"
)

// try gives the i-th candidate its turn and says which is next.
func (a *attempt) try(ctx context.Context, i int) (next int) {
	c := &a.plan[i]
	began := time.Now()
	record := &eventv1.HostTry{
		Host: a.hostName(c.host), Preference: c.of.GetPreference(), StartedAt: timestamppb.New(began),
	}
	if c.of.GetName() == "" {
		record.Host = ""
	}
	if c.address.IsValid() {
		record.Address = c.address.String()
	}
	ctx, span := a.begin(ctx, c)
	recipients := slices.Clone(a.concerned(c.host))
	fail := c.failure
	if fail != nil {
		a.leaveAll(recipients, verdict.Left{Host: c.host, Known: fail.Reason == smtpreply.ReasonRequireTLSPolicy, Failure: fail})
	} else {
		fail = a.talk(ctx, i, recipients, record)
	}
	record.Failure = fail.Proto()
	record.Duration = durationpb.New(time.Since(began))
	a.outcome.Tries = append(a.outcome.Tries, record)
	if next = a.next(i); next < 0 {
		a.finish()
	}
	record.LeftFor = a.leftFor(c.host, next, fail)
	endTry(span, record, a.mail.Message, fail)
	return next
}

// options are those of a session with the i-th candidate.
func (a *attempt) options(i int, policy smtpclient.TLSPolicy) smtpclient.Options {
	w, c := a.w, &a.plan[i]
	o := smtpclient.Options{
		Address: c.address, Source: w.source(c.address.Addr()), Hostname: w.Hostname, TLS: policy, Timeouts: w.Timeouts,
		Auth: a.mail.Auth, LastCandidate: a.isLast(i), Dial: w.Dial, Open: w.Open, Tracer: w.Tracer,
	}
	if c.of.GetName() != "" && a.mail.Smarthost == "" {
		o.OwnName = w.OwnName
	}
	return o
}

// isLast reports that no other address can be dialled when this one fails, so that its greeting has the long time (S-02).
func (a *attempt) isLast(i int) bool {
	after := budget{dialled: a.budget.dialled + 1, greeted: a.budget.greeted}
	for j := i + 1; j < len(a.plan); j++ {
		c := &a.plan[j]
		used := a.budget.perHost[c.host]
		if c.host == a.plan[i].host {
			used++
		}
		after.perHost = map[int]int{c.host: used}
		if c.failure == nil && len(a.concerned(c.host)) > 0 && after.allows(c.host) {
			return false
		}
	}
	return true
}

// judge gives each recipient its verdict, or notes why the host was left for it. It returns the failure to be recorded
// for the host.
func (a *attempt) judge(c *candidate, conn *smtpclient.Conn, recipients []int, result *smtpclient.Result) *smtpreply.Error {
	_, forced := conn.HeloOnly()
	var led, other *smtpreply.Error
	delivered := false
	for k, i := range recipients {
		one := result.Recipients[k]
		v := verdict.Of(one.Failure, conn.ClearFallback())
		switch v {
		case verdict.Next:
			a.leave(i, verdict.Left{Host: c.host, Reached: true, Known: !forced, Failure: one.Failure})
			led = first(led, one.Failure)
			continue
		case verdict.Delivered:
			delivered = true
		default:
			other = first(other, one.Failure)
		}
		r := Recipient{Verdict: v, Failure: one.Failure, Reply: one.Reply, DSN: result.DSN && v == verdict.Delivered}
		if one.Reply.Code != 0 {
			r.Host = a.hostName(c.host)
		}
		a.decide(i, r)
		if one.Failure != nil && one.Failure.Reason == smtpreply.ReasonShutdown {
			a.over = one.Failure
		}
	}
	if result.BodyErr != nil {
		a.outcome.BodyErr, a.over = result.BodyErr, other
	}
	if led == nil && !delivered {
		led = other
	}
	return led
}

func first(a, b *smtpreply.Error) *smtpreply.Error {
	if a != nil {
		return a
	}
	return b
}

// leaveAll notes that a host was left before a session was had. The end of the sender ends the walk.
func (a *attempt) leaveAll(recipients []int, l verdict.Left) {
	if l.Failure.Reason == smtpreply.ReasonShutdown {
		a.over = l.Failure
		return
	}
	for _, i := range recipients {
		a.leave(i, l)
	}
}

// leftFor is the word for what came after a candidate.
func (a *attempt) leftFor(host, next int, fail *smtpreply.Error) string {
	switch {
	case next >= 0 && a.plan[next].host == host:
		return leftForAddress
	case next >= 0:
		return leftForHost
	case fail == nil:
		return leftForDelivered
	}
	for _, r := range a.outcome.Recipients {
		if r.Verdict == verdict.Defer {
			return leftForDefer
		}
	}
	return leftForBounce
}

// source is the local address for a family; invalid: the kernel's choice.
func (w *Walker) source(to netip.Addr) netip.Addr {
	for _, from := range w.Sources {
		if from.Unmap().Is4() == to.Is4() {
			return from.Unmap()
		}
	}
	return netip.Addr{}
}
