// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"errors"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/postrider/postrider/kit/mailaddr"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// sender reads the reverse-path; empty is the null one.
func (c *checker) sender(text string) mailaddr.Address {
	if text == "" {
		return mailaddr.Address{}
	}
	address, err := mailaddr.Parse(text)
	if fault, ok := errors.AsType[*mailaddr.ParseError](err); ok {
		c.add("envelope.sender", reasonSender, fault.SenderEnhanced(), "%s", fault.Detail)
	}
	return address
}

// options checks everything but addresses and recipients.
func (c *checker) options(in *gatewayv1.Envelope, out *Envelope) {
	c.text("envelope.idempotency_key", in.GetIdempotencyKey(), maxKey)
	c.text("envelope.tag", in.GetTag(), maxTag)
	if len(in.GetTenant()) > maxTenant || strings.IndexFunc(in.GetTenant(), notTenant) >= 0 {
		c.add("envelope.tenant", reasonEnvelope, syntaxError(), "must be up to %d of a-z, 0-9, -, _ and .", maxTenant)
	}
	out.Priority = in.GetPriority()
	if out.Priority == eventv1.Priority_PRIORITY_UNSPECIFIED {
		out.Priority = eventv1.Priority_PRIORITY_NORMAL
	}
	if _, known := eventv1.Priority_name[int32(out.Priority)]; !known {
		c.add("envelope.priority", reasonEnvelope, syntaxError(), "must be urgent, normal or bulk")
	}
	if _, known := eventv1.Ret_name[int32(in.GetRet())]; !known {
		c.add("envelope.ret", reasonDSN, syntaxError(), "must be FULL or HDRS")
	}
	if len(in.GetEnvid()) > maxEnvID || !printable(in.GetEnvid()) {
		c.add("envelope.envid", reasonDSN, syntaxError(), "must be up to %d printable US-ASCII characters", maxEnvID)
	}
	c.notBefore(in, out)
	c.reportsOn(in)
}

// notBefore takes a moment up to 30 days ahead; one that is past means at once.
func (c *checker) notBefore(in *gatewayv1.Envelope, out *Envelope) {
	given := in.GetNotBefore()
	if given == nil {
		return
	}
	if err := given.CheckValid(); err != nil {
		c.add("envelope.not_before", reasonEnvelope, syntaxError(), "must be a valid time")
		return
	}
	at := given.AsTime()
	if at.After(c.now.Add(maxNotBefore)) {
		c.add("envelope.not_before", reasonEnvelope, syntaxError(), "must be at most 30 days ahead")
		return
	}
	if at.After(c.now) {
		out.NotBefore = at
	}
}

func (c *checker) reportsOn(in *gatewayv1.Envelope) {
	if in.GetReportsOn() == "" {
		if in.GetReportsOnLoop() != nil {
			c.add("envelope.reports_on_loop", reasonEnvelope, syntaxError(), "must be given with reports_on only")
		}
		return
	}
	if _, err := ulid.ParseStrict(in.GetReportsOn()); err != nil {
		c.add("envelope.reports_on", reasonEnvelope, syntaxError(), "must be a message id")
	}
}

// text checks a free text of ours: bounded, and without control characters (G-02).
func (c *checker) text(field, text string, limit int) {
	switch {
	case len(text) > limit:
		c.add(field, reasonEnvelope, syntaxError(), "must be at most %d octets", limit)
	case hasControl(text):
		c.add(field, reasonEnvelope, syntaxError(), "must not hold control characters")
	}
}

func notTenant(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
	return !letter && r != '-' && r != '_' && r != '.'
}

// printable reports printable US-ASCII, spaces included (RFC 3461, sections 4.2 and 4.4).
func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// hasControl reports C0 and C1 control characters and DEL.
func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f })
}
