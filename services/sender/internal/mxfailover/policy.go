// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
)

// The operator's words for a destination's TLS, and the words of policies in records.
const (
	tlsOff           = "off"
	tlsOpportunistic = "opportunistic"
	tlsRequire       = "require"
	tlsVerify        = "verify"
	wordNone         = "none"
	wordMTASTS       = "mta-sts"
	wordDANE         = "dane"
	wordRequireTLS   = "requiretls"
)

// policy is what TLS with a host must satisfy for this message: the message's own demand (S-41), its waiver (S-42), the
// operator's word, then what the resolver found. It fails when a message with REQUIRETLS has no policy that verifies.
func (a *attempt) policy(host *resolverv1.Host) (smtpclient.TLSPolicy, *smtpreply.Error) {
	kind := host.GetTls().GetKind()
	published := kind == resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE || kind == resolverv1.TlsPolicyKind_TLS_POLICY_KIND_MTA_STS
	if a.mail.Message.RequireTLS {
		if !published {
			return smtpclient.TLSPolicy{}, &smtpreply.Error{
				Stage: smtpreply.StageStartTLS, Reason: smtpreply.ReasonRequireTLSPolicy,
				Detail: "the message demands REQUIRETLS and the host has neither DANE nor an enforced MTA-STS policy",
			}
		}
		p := a.published(host)
		p.Word, p.ForMessage = wordRequireTLS, true
		return p, nil
	}
	if a.mail.Auth != nil && !a.mail.Auth.Insecure {
		return a.forCredentials(host), nil
	}
	if a.mail.TLSOptional {
		return a.plain(host, smtpclient.TLSOpportunistic, tlsOpportunistic), nil
	}
	switch a.mail.TLS {
	case tlsOff:
		return smtpclient.TLSPolicy{Mode: smtpclient.TLSOff, Word: wordNone}, nil
	case tlsOpportunistic:
		return a.plain(host, smtpclient.TLSOpportunistic, tlsOpportunistic), nil
	case tlsRequire:
		if !published {
			return a.plain(host, smtpclient.TLSRequire, tlsRequire), nil
		}
	case tlsVerify:
		if !published {
			return a.plain(host, smtpclient.TLSVerify, tlsVerify), nil
		}
	}
	return a.published(host), nil
}

// forCredentials is a policy that verifies, whatever the message or the operator's word for TLS allow (S-43). Without
// DANE or MTA-STS nothing vouches for the names of MX records, so that the certificate must carry the name configured;
// a host below it is as good.
func (a *attempt) forCredentials(host *resolverv1.Host) smtpclient.TLSPolicy {
	if p := a.published(host); p.Mode >= smtpclient.TLSVerify {
		return p
	}
	p := a.plain(host, smtpclient.TLSVerify, tlsVerify)
	p.Names = []string{a.mail.Smarthost}
	if strings.HasSuffix(host.GetName(), "."+a.mail.Smarthost) {
		p.Names = append(p.Names, host.GetName())
	}
	return p
}

// published is the policy the resolver found.
func (a *attempt) published(host *resolverv1.Host) smtpclient.TLSPolicy {
	switch host.GetTls().GetKind() {
	case resolverv1.TlsPolicyKind_TLS_POLICY_KIND_REQUIRE:
		return a.plain(host, smtpclient.TLSRequire, tlsRequire)
	case resolverv1.TlsPolicyKind_TLS_POLICY_KIND_MTA_STS:
		return a.plain(host, smtpclient.TLSVerify, wordMTASTS)
	case resolverv1.TlsPolicyKind_TLS_POLICY_KIND_DANE:
		p := a.plain(host, smtpclient.TLSDane, wordDANE)
		p.Names = host.GetTls().GetReferenceNames()
		for _, r := range host.GetTls().GetTlsa() {
			p.TLSA = append(p.TLSA, smtpclient.TLSA{
				Usage: octet(r.GetUsage()), Selector: octet(r.GetSelector()), MatchingType: octet(r.GetMatchingType()),
				Data: r.GetData(),
			})
		}
		return p
	default:
		return a.plain(host, smtpclient.TLSOpportunistic, tlsOpportunistic)
	}
}

// plain is a policy for the host's own name; an address literal has none.
func (a *attempt) plain(host *resolverv1.Host, mode smtpclient.TLSMode, word string) smtpclient.TLSPolicy {
	p := smtpclient.TLSPolicy{Mode: mode, Word: word, ServerName: host.GetTls().GetSni(), Roots: a.w.Roots}
	if name := host.GetName(); name != "" {
		p.Names = []string{name}
		if p.ServerName == "" {
			p.ServerName = name
		}
	}
	return p
}

// octet is a TLSA field; what does not fit is a value no record has.
func octet(n uint32) uint8 { return uint8(min(n, 0xff)) }

// withFinding adds what the resolver, or the message's waiver, has to say about TLS with the host.
func withFinding(r *eventv1.TLSResult, host *resolverv1.Host, waived bool) *eventv1.TLSResult {
	if r == nil {
		return nil
	}
	notes := make([]string, 0, 3)
	for _, note := range []string{r.GetFinding(), host.GetTls().GetFinding()} {
		if note != "" {
			notes = append(notes, note)
		}
	}
	if waived && host.GetTls().GetKind() > resolverv1.TlsPolicyKind_TLS_POLICY_KIND_OPPORTUNISTIC {
		notes = append(notes, "policy not enforced: TLS-Required: No")
	}
	finding := strings.Join(notes, "; ")
	if finding == r.GetFinding() {
		return r
	}
	r = proto.CloneOf(r) // the session may be used again
	r.Finding = finding
	return r
}
