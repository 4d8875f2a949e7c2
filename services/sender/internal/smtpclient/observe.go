// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"crypto/x509"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Observation is one step of a session as it happens.
type Observation struct {
	// Stage is the step.
	Stage smtpreply.Stage
	// Reply is what the host said; without code when it said nothing, or had nothing to say.
	Reply smtpreply.Reply
	// Failure is why the step did not work; nil when it did.
	Failure *smtpreply.Error
	// TLS is what transport security came to so far; nil before EHLO was answered.
	TLS *eventv1.TLSResult
	// Certificate is the host's, at the step smtpreply.StageTLS when the handshake worked; nil otherwise.
	Certificate *x509.Certificate
}

// observed tells the observer of the options, if there is one, of a step.
func (c *Conn) observed(stage smtpreply.Stage, reply rawReply, fail *smtpreply.Error) {
	if c.o.Observe == nil {
		return
	}
	o := Observation{Stage: stage, Failure: fail}
	switch {
	case reply.code != 0:
		o.Reply = reply.parsed(stage)
	case fail != nil:
		o.Stage, o.Reply = fail.Stage, fail.Reply()
	}
	if c.tls != nil {
		o.TLS = proto.CloneOf(c.tls)
	}
	if c.secured != nil && o.Stage == smtpreply.StageTLS {
		if chain := c.secured.ConnectionState().PeerCertificates; len(chain) > 0 {
			o.Certificate = chain[0]
		}
	}
	c.o.Observe(o)
}
