// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/sender/internal/sasl"
)

// Bounds of AUTH.
const (
	maxChallenges = 10  // of one exchange (S-44)
	maxAuthLine   = 512 // octets of AUTH with its initial response (RFC 4954, section 4)
)

// auth authenticates with the credentials of the options, inside verified TLS unless these allow otherwise (S-43). Every
// failure that is the host's answer has a reason of its own, and leads to a later attempt: a slip with a password must
// not bounce a queue (S-44).
func (c *Conn) auth(ctx context.Context) *smtpreply.Error {
	if c.o.Auth == nil {
		return nil
	}
	if !c.tls.GetVerified() && !c.o.Auth.Insecure {
		fail := authFailure(smtpreply.ReasonAuth, "the credentials are not said outside verified TLS", nil)
		c.observed(smtpreply.StageAuth, rawReply{}, fail)
		return fail
	}
	span := c.begin(ctx, "smtp.auth")
	x, err := sasl.Choose(c.ext.Auth, c.o.Auth.Credentials)
	if err != nil {
		fail := authFailure(smtpreply.ReasonAuth, "the credentials cannot be said", err)
		if errors.Is(err, sasl.ErrNoMechanism) {
			fail = authFailure(smtpreply.ReasonAuthMechanism, "the smarthost offers neither SCRAM-SHA-256 nor PLAIN nor LOGIN", err)
		}
		c.observed(smtpreply.StageAuth, rawReply{}, fail)
		span.end(0, fail)
		return fail
	}
	reply, fail := c.authenticate(ctx, x)
	c.observed(smtpreply.StageAuth, reply, fail)
	span.end(reply.code, fail, attribute.String("smtp.auth.mechanism", x.Name()))
	return fail
}

// authenticate holds one exchange. All of it has the time of EHLO.
func (c *Conn) authenticate(ctx context.Context, x sasl.Exchange) (rawReply, *smtpreply.Error) {
	end := time.Now().Add(c.o.Timeouts.Ehlo.Std())
	c.hide(c.o.Auth.Credentials.Password)
	line, rest := "AUTH "+x.Name(), x.Initial()
	if said := c.encode(rest); rest != nil && len(line)+len(" \r\n")+len(said) <= maxAuthLine {
		line, rest = line+" "+said, nil
	}
	reply, fail := c.command(ctx, smtpreply.StageAuth, time.Until(end), line+"\r\n")
	for range maxChallenges {
		if fail != nil || reply.code != 334 {
			return reply, c.authOutcome(reply, fail, x)
		}
		response := rest
		if rest = nil; response == nil {
			challenge, err := base64.StdEncoding.DecodeString(strings.TrimRight(reply.texts[0], " "))
			if err == nil {
				response, err = x.Next(challenge)
			}
			if err != nil {
				return c.cancelAuth(ctx, end, "the exchange with the smarthost came to nothing", err)
			}
		}
		reply, fail = c.respond(ctx, end, c.encode(response))
	}
	if fail != nil || reply.code != 334 {
		return reply, c.authOutcome(reply, fail, x)
	}
	return c.cancelAuth(ctx, end, "the smarthost asks without end", nil)
}

// respond says one response, which no transcript tells.
func (c *Conn) respond(ctx context.Context, end time.Time, response string) (rawReply, *smtpreply.Error) {
	if !c.box.expect(1) {
		return rawReply{}, c.outOfStep(smtpreply.StageAuth)
	}
	c.log.secret()
	c.note(c.out.WriteString(response + "\r\n"))
	c.flush(time.Until(end))
	return c.await(ctx, smtpreply.StageAuth, time.Until(end))
}

// cancelAuth ends an exchange from our side (RFC 4954, section 4), whatever the host says to that.
func (c *Conn) cancelAuth(ctx context.Context, end time.Time, detail string, cause error) (rawReply, *smtpreply.Error) {
	reply, fail := c.command(ctx, smtpreply.StageAuth, min(c.o.Timeouts.Rset.Std(), time.Until(end)), "*\r\n")
	if fail == nil {
		fail = authFailure(smtpreply.ReasonAuth, detail, cause)
	}
	return reply, fail
}

// authOutcome judges how the exchange ended: 2yz is good when the mechanism is content as well. Other replies are told
// with the smarthost's words, recorded as 4.7.8 when they speak of the credentials and as 4.7.0 otherwise.
func (c *Conn) authOutcome(reply rawReply, fail *smtpreply.Error, x sasl.Exchange) *smtpreply.Error {
	switch {
	case fail != nil:
		return fail
	case reply.code < 300:
		if err := x.Finish(); err != nil {
			return authFailure(smtpreply.ReasonAuth, "the smarthost has not proved that it knows the password", err)
		}
		return nil
	}
	fail = c.refused(smtpreply.StageAuth, reply)
	if fail.Reason == "" && reply.code != 421 {
		fail.Reason, fail.Detail = smtpreply.ReasonAuth, "the smarthost refuses the credentials"
		fail.Status = smtpreply.Code(4, 7, 8)
		if reply.code < 500 {
			fail.Status, fail.Detail = smtpreply.Code(4, 7, 0), "the smarthost cannot check the credentials now"
		}
	}
	return fail
}

func authFailure(reason smtpreply.Reason, detail string, cause error) *smtpreply.Error {
	return &smtpreply.Error{Stage: smtpreply.StageAuth, Reason: reason, Detail: detail, Err: cause}
}

// encode is a response as it goes over the wire, noted as a secret.
func (c *Conn) encode(response []byte) string {
	said := base64.StdEncoding.EncodeToString(response)
	c.hide(said)
	return said
}

// hide notes what replies are searched for.
func (c *Conn) hide(secret string) {
	if secret != "" && !slices.Contains(c.secrets, secret) {
		c.secrets = append(c.secrets, secret)
	}
}

// withoutSecrets is a reply to AUTH without the lines that repeat what we said, and as a transcript tells it: of a
// challenge, which the exchange needs as it is, nothing but the code.
func (c *Conn) withoutSecrets(r rawReply) (clean, told rawReply) {
	if r.code == 334 {
		return r, rawReply{code: r.code, texts: []string{"…"}}
	}
	clean = rawReply{code: r.code, texts: slices.Clone(r.texts)}
	for i, text := range clean.texts {
		if slices.ContainsFunc(c.secrets, func(secret string) bool { return strings.Contains(text, secret) }) {
			clean.texts[i] = "(left out: it repeats the credentials)"
		}
	}
	return clean, clean
}
