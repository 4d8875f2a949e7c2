// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/mailaddr"
	"github.com/postrider/postrider/kit/rpc"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/services/sender/internal/attempt"
)

// Bounds of probes.
const (
	maxProbes = 4                // at once, in this process
	probeTime = 20 * time.Minute // of one
	busyFor   = 10 * time.Second // when to come back with one more
)

// Reasons of refusals (ErrorInfo.reason).
const (
	ReasonRequest = "INVALID_PROBE"
	ReasonBusy    = "TOO_MANY_PROBES"
)

// Engine knows how an attempt would go. attempt.Engine is one.
type Engine interface {
	Ways(ctx context.Context, domain string) attempt.Ways
}

// Prober makes probes. It is safe for concurrent use.
type Prober struct {
	engine Engine
	slots  chan struct{}
}

// New returns a prober.
func New(engine Engine) *Prober {
	return &Prober{engine: engine, slots: make(chan struct{}, maxProbes)}
}

// Probe goes the way to a domain and gives each step to send, which it calls from its own goroutine. What goes wrong on
// the way is a step. The error is that of a request at fault (INVALID_ARGUMENT), of too many probes at once
// (RESOURCE_EXHAUSTED), of ctx, or that of send.
func (p *Prober) Probe(ctx context.Context, req *senderv1.ProbeRequest, send func(*senderv1.ProbeResponse) error) error {
	if err := check(req); err != nil {
		return err
	}
	select {
	case p.slots <- struct{}{}:
	default:
		return &rpc.Error{
			Code: codes.ResourceExhausted, Reason: ReasonBusy, RetryAfter: busyFor,
			Message: "Too many probes are under way.",
		}
	}
	defer func() { <-p.slots }()
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	r := &run{req: req, began: time.Now(), send: send, cancel: cancel}
	r.walk(ctx, p.engine)
	if r.sendErr != nil {
		return r.sendErr
	}
	return ctx.Err()
}

// check names the fields at fault.
func check(req *senderv1.ProbeRequest) error {
	var fields []rpc.Field
	fault := func(field, description string) {
		fields = append(fields, rpc.Field{Field: field, Description: description})
	}
	if strings.TrimSpace(req.GetDomain()) == "" {
		fault("domain", "is empty")
	}
	if req.GetMailFrom() != "" && req.GetRcptTo() == "" {
		fault("mail_from", "is of no use without rcpt_to")
	}
	for field, address := range map[string]string{"mail_from": req.GetMailFrom(), "rcpt_to": req.GetRcptTo()} {
		if address == "" {
			continue
		}
		if _, err := mailaddr.Parse(address); err != nil {
			description := "is no mail address"
			if e, ok := errors.AsType[*mailaddr.ParseError](err); ok {
				description = e.Detail
			}
			fault(field, description)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: ReasonRequest, Message: "The probe cannot be made as it is asked for.", Fields: fields,
	}
}
