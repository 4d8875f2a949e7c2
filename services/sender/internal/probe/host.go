// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	senderv1 "github.com/postrider/postrider/proto/postrider/sender/v1"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

// host is the part of a probe that concerns one address.
type host struct {
	*run
	way       *mxfailover.Way
	connected int // connections so far
}

// step is a step with this host.
func (h *host) step(stage smtpreply.Stage) *senderv1.ProbeResponse {
	return &senderv1.ProbeResponse{Stage: stage.Proto(), Host: h.way.Name, Address: h.way.Options.Address.String()}
}

// tellPolicy tells what TLS must satisfy here, and where that comes from.
func (h *host) tellPolicy() {
	policy, published := h.way.Options.TLS, h.way.Host.GetTls()
	step := h.step(smtpreply.StageResolve)
	step.Tls = &eventv1.TLSResult{Policy: policy.Word, Finding: published.GetFinding()}
	text := "TLS policy " + policy.Word
	if origin := published.GetOrigin(); origin != "" {
		text += " (" + origin + ")"
	}
	step.Text = text + ": " + demand(policy)
	h.tell(step)
}

// demand is a policy in words.
func demand(p smtpclient.TLSPolicy) string {
	switch p.Mode {
	case smtpclient.TLSOff:
		return "STARTTLS is never used"
	case smtpclient.TLSRequire:
		return "STARTTLS or no delivery, any certificate"
	case smtpclient.TLSVerify:
		return "STARTTLS and a certificate for " + strings.Join(p.Names, " or ") + ", or no delivery"
	case smtpclient.TLSDane:
		return fmt.Sprintf("STARTTLS and a certificate that one of %s vouches for, or no delivery",
			count(len(p.TLSA), "TLSA record", "TLSA records"))
	default:
		return "STARTTLS when it is offered, any certificate"
	}
}

// observe tells a step of the session.
func (h *host) observe(o smtpclient.Observation) {
	step := h.step(o.Stage)
	step.Reply, step.Failure, step.Tls = smtpreply.ReplyProto(o.Reply), o.Failure.Proto(), o.TLS
	switch {
	case o.Failure != nil:
		step.Text = detail(o.Failure)
	default:
		step.Text = h.worked(o)
	}
	h.tell(step)
}

// worked is a step that worked in words.
func (h *host) worked(o smtpclient.Observation) string {
	switch o.Stage {
	case smtpreply.StageConnect:
		if h.connected++; h.connected > 1 {
			return "connected again: the connection before led to no session"
		}
		return "connected"
	case smtpreply.StageGreeting:
		return "the host greets"
	case smtpreply.StageEhlo:
		if o.Reply.Code >= 400 {
			return "the host does not know EHLO"
		}
		return "the host offers " + count(max(0, len(o.Reply.Lines)-1), "extension", "extensions")
	case smtpreply.StageHelo:
		return "the host answers HELO, which says nothing of extensions"
	case smtpreply.StageStartTLS:
		if o.Reply.Code == 220 {
			return "the host begins TLS"
		}
		return o.TLS.GetFinding()
	case smtpreply.StageTLS:
		return h.secured(o)
	case smtpreply.StageAuth:
		return "the host takes our credentials"
	case smtpreply.StageMail:
		return "the host takes the sender"
	case smtpreply.StageRcpt:
		return "the host takes the recipient"
	default:
		return ""
	}
}

// secured tells of the session's protection and of the host's certificate.
func (h *host) secured(o smtpclient.Observation) string {
	text := o.TLS.GetVersion() + ", " + o.TLS.GetCipherSuite()
	if o.TLS.GetVerified() {
		text += ", verified as the policy demands"
	} else {
		text += ", not verified: no policy demands it"
	}
	if o.Certificate == nil {
		return text
	}
	return text + "; " + certificateText(o.Certificate, h.way.Host.GetName())
}

// certificateText is what a person wants to know of a certificate. All of it is the host's own word.
func certificateText(c *x509.Certificate, name string) string {
	const most = 5
	names := make([]string, 0, most+1)
	for i, n := range c.DNSNames {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, smtpreply.Clean(cut(n)))
	}
	if len(names) == 0 {
		names = append(names, "no name")
	}
	text := fmt.Sprintf("certificate for %s, issued by %q, valid until %s", strings.Join(names, ", "),
		smtpreply.Clean(cut(c.Issuer.CommonName)), c.NotAfter.UTC().Format(time.DateOnly))
	if name != "" && c.VerifyHostname(name) != nil {
		text += ", which does not carry the name " + name
	}
	if now := time.Now(); now.After(c.NotAfter) || now.Before(c.NotBefore) {
		text += ", not valid today"
	}
	return text
}

// cut bounds a name.
func cut(name string) string {
	const most = 100
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

// tellEnd tells what the session came to, and what that would mean for mail.
func (h *host) tellEnd(conn *smtpclient.Conn, fail *smtpreply.Error) {
	step := h.step(smtpreply.StageQuit)
	step.Failure, step.Tls = fail.Proto(), conn.TLS()
	switch v := verdict.Of(fail, conn.ClearFallback()); {
	case fail == nil && h.req.GetRcptTo() == "":
		step.Text = "usable: the host is ready for mail"
	case fail == nil:
		step.Text = "usable: the host would be given the mail"
	case v == verdict.Bounce:
		step.Text = "final: mail would come back to its sender, no other host would be asked"
	case v == verdict.Defer:
		step.Text = "not usable: mail would wait, no other host would be asked"
	default:
		step.Text = "not usable: the next address or host would be asked"
	}
	h.tell(step)
}
