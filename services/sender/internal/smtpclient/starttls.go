// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// secure brings the session under TLS as the policy says (RFC 3207; S-36 to S-40).
func (c *Conn) secure(ctx context.Context) *smtpreply.Error {
	p := &c.o.TLS
	c.tls = &eventv1.TLSResult{Policy: p.Word, Finding: c.how.finding}
	c.fallback = c.how.clear
	switch {
	case p.Mode == TLSOff || c.how.clear:
		return nil
	case c.ext.StartTLS:
	case p.required():
		fail := p.notOffered()
		c.observed(smtpreply.StageStartTLS, rawReply{}, fail)
		return fail
	default:
		c.tls.Finding = "STARTTLS not offered"
		c.observed(smtpreply.StageStartTLS, rawReply{}, nil)
		return nil
	}
	span := c.begin(ctx, "smtp.starttls")
	secured, fail := c.startTLS(ctx)
	if secured || fail != nil && fail.Code == 0 {
		c.observed(smtpreply.StageTLS, rawReply{}, fail)
	}
	span.end(0, fail, attribute.String("tls.protocol.version", c.tls.GetVersion()),
		attribute.String("mail.tls.policy", p.Word), attribute.Bool("mail.tls.verified", c.tls.GetVerified()),
		attribute.Bool("tls.resumed", c.resumed))
	if fail != nil || !secured {
		return fail
	}
	return c.hello(ctx)
}

// notOffered is the failure with a host that does not offer STARTTLS where it must.
func (p *TLSPolicy) notOffered() *smtpreply.Error {
	if p.ForMessage {
		return &smtpreply.Error{
			Stage: smtpreply.StageStartTLS, Reason: smtpreply.ReasonRequireTLSPolicy,
			Detail: "the message demands REQUIRETLS and the host does not offer STARTTLS",
		}
	}
	return &smtpreply.Error{
		Stage: smtpreply.StageStartTLS, Reason: smtpreply.ReasonTLSNotOffered,
		Detail: "the policy " + p.Word + " needs TLS and the host does not offer STARTTLS",
	}
}

// startTLS says STARTTLS and makes the handshake. secured is false without failure when the session goes on in clear.
func (c *Conn) startTLS(ctx context.Context) (secured bool, fail *smtpreply.Error) {
	c.box.stopAt220(true)
	reply, fail := c.command(ctx, smtpreply.StageStartTLS, c.o.Timeouts.StartTLS.Std(), "STARTTLS\r\n")
	if fail != nil {
		return false, fail
	}
	if reply.code != 220 {
		c.box.stopAt220(false)
		fail = c.startTLSRefused(reply)
		c.observed(smtpreply.StageStartTLS, reply, fail)
		return false, fail
	}
	c.observed(smtpreply.StageStartTLS, reply, nil)
	<-c.in.done
	if c.in.br.Buffered() > 0 || c.box.outOfStep() {
		c.state = stateBroken
		return false, &smtpreply.Error{
			Stage: smtpreply.StageStartTLS, Reason: smtpreply.ReasonTLSInjection,
			Detail: "there was input behind the reply to STARTTLS",
		}
	}
	return true, c.handshake(ctx)
}

// startTLSRefused judges a reply to STARTTLS other than 220: an opportunistic session goes on in clear (S-37).
func (c *Conn) startTLSRefused(reply rawReply) *smtpreply.Error {
	fail := c.refused(smtpreply.StageStartTLS, reply)
	switch {
	case c.state == stateBroken:
		return fail
	case c.o.TLS.required():
		fail.Reason, fail.Status = smtpreply.ReasonTLSFailed, smtpreply.Code(4, 7, 5)
		fail.Detail = "the policy " + c.o.TLS.Word + " needs TLS and the host refuses STARTTLS"
		return fail
	}
	c.fallback = true
	c.tls.Finding = fmt.Sprintf("STARTTLS refused with %d, sent in clear", reply.code)
	return nil
}

// handshake makes the TLS handshake and puts reader and writer on top of it.
func (c *Conn) handshake(ctx context.Context) *smtpreply.Error {
	c.stage = smtpreply.StageTLS
	limit := c.o.Timeouts.TLS.Std()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c.wire.limit(0, time.Now().Add(limit))
	conf := c.tlsConfig()
	c.resuming = conf.ClientSessionCache != nil && resumable(conf.ClientSessionCache)
	conn := tls.Client(c.wire, conf)
	if err := conn.HandshakeContext(limited); err != nil {
		if ctx.Err() != nil {
			return c.fail(smtpreply.StageTLS, context.Cause(ctx))
		}
		return c.handshakeFailure(err)
	}
	cs := conn.ConnectionState()
	c.resumed = cs.DidResume
	c.tls.Version = tls.VersionName(cs.Version)
	c.tls.CipherSuite = tls.CipherSuiteName(cs.CipherSuite)
	c.tls.Verified = c.o.TLS.Mode >= TLSVerify
	c.log.note(c.tls.Version)
	c.secured = conn
	c.out.Reset(conn)
	c.box.stopAt220(false)
	c.in = startReader(conn, c.box)
	return nil
}

// resumable reports that there is a session to resume. A TLSPolicy has a cache for sessions like its own only.
func resumable(cache tls.ClientSessionCache) bool {
	_, ok := cache.Get("")
	return ok
}

func (c *Conn) handshakeFailure(err error) *smtpreply.Error {
	c.state = stateBroken
	e := &smtpreply.Error{Stage: smtpreply.StageTLS, Reason: smtpreply.ReasonTLSFailed, Err: err}
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		e.Detail = "the certificate is not for a name the policy allows"
	case errors.As(err, &authority):
		e.Detail = "the certificate is signed by an authority we do not trust"
	case errors.As(err, &invalid):
		e.Detail = "the certificate is not valid"
	case errors.Is(err, errNoTLSAMatch):
		e.Detail = "the certificate matches no TLSA record"
	case errors.Is(err, context.DeadlineExceeded):
		e.Detail = "no TLS handshake within " + c.o.Timeouts.TLS.String()
	default:
		e.Detail = "TLS handshake failed"
	}
	c.log.note(e.Detail)
	return e
}

// tlsConfig demands TLS 1.2 under any policy and takes what the host has without one: any TLS is better than clear
// text, which would be next (S-36, RFC 7435). Certificates are judged in verify, as the policies differ.
func (c *Conn) tlsConfig() *tls.Config {
	p := &c.o.TLS
	conf := &tls.Config{
		ServerName:         p.ServerName,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true,
		VerifyConnection:   p.verify,
		ClientSessionCache: p.Sessions,
		// A write is one record, and one packet where it fits.
		DynamicRecordSizingDisabled: true,
	}
	if p.Mode == TLSOpportunistic {
		conf.MinVersion = tls.VersionTLS10
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			conf.CipherSuites = append(conf.CipherSuites, suite.ID)
		}
	}
	return conf
}

// verify judges the certificate of the host, also of a resumed session.
func (p *TLSPolicy) verify(cs tls.ConnectionState) error {
	switch p.Mode {
	case TLSVerify:
		return verifyNames(cs.PeerCertificates, p.Roots, p.Names)
	case TLSDane:
		return verifyDane(cs.PeerCertificates, p.TLSA, p.Names)
	default:
		return nil
	}
}

// verifyNames checks chain, dates and that the certificate carries one of names. Without names none fits.
func verifyNames(chain []*x509.Certificate, roots *x509.CertPool, names []string) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	err := error(x509.HostnameError{Certificate: chain[0]})
	for _, name := range names {
		if _, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between}); err == nil {
			return nil
		}
	}
	return err
}
