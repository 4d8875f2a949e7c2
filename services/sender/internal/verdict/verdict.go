// SPDX-License-Identifier: Apache-2.0

package verdict

import "github.com/postrider/postrider/kit/smtpreply"

// Verdict is where a recipient goes after one session.
type Verdict int

// The verdicts.
const (
	// Delivered: the host took responsibility with a 2yz reply to the final dot.
	Delivered Verdict = iota + 1
	// Next: another address or host may take it in this attempt; when none is left, Exhausted decides.
	Next
	// Defer: no other host in this attempt; a later one.
	Defer
	// Bounce: final.
	Bounce
)

// String returns the word used in spans.
func (v Verdict) String() string {
	switch v {
	case Delivered:
		return "delivered"
	case Next:
		return "next"
	case Defer:
		return "defer"
	case Bounce:
		return "bounce"
	default:
		return "none"
	}
}

// Of judges the failure of one recipient with one host; nil is a delivery. clearFallback says that the session was in
// clear because TLS had failed.
func Of(fail *smtpreply.Error, clearFallback bool) Verdict {
	switch {
	case fail == nil:
		return Delivered
	case fail.Reason == smtpreply.ReasonAmbiguous, fail.Reason == smtpreply.ReasonShutdown, NeedsOperator(fail):
		return Defer
	case fail.Stage == smtpreply.StageLocal, fail.Stage == smtpreply.StageResolve:
		return local(fail)
	case fail.Stage == smtpreply.StageMail:
		return mail(fail, clearFallback)
	case !inTransaction(fail.Stage):
		return Next
	}
	return transaction(fail)
}

// NeedsOperator reports credentials that a smarthost does not take: no other host and no bounce can help, only somebody
// who mends the configuration (S-44).
func NeedsOperator(fail *smtpreply.Error) bool {
	return fail.Reason == smtpreply.ReasonAuth || fail.Reason == smtpreply.ReasonAuthMechanism
}

// local judges what no host had a part in: the class of the recorded status decides.
func local(fail *smtpreply.Error) Verdict {
	if fail.Temporary() {
		return Defer
	}
	return Bounce
}

// mail judges MAIL (S-50). 530 demands what another host may not, and in clear text after a failed TLS a host may refuse
// what it would take under TLS.
func mail(fail *smtpreply.Error, clearFallback bool) Verdict {
	if fail.Code == 530 || clearFallback {
		return Next
	}
	return transaction(fail)
}

// transaction judges replies within a transaction: 5yz is final and no other host is asked (RFC 5321, section 4.2.1),
// except where it only means that there are too many recipients (S-54). Everything else leads to the next host.
func transaction(fail *smtpreply.Error) Verdict {
	if fail.Permanent() && fail.Reason != smtpreply.ReasonTooManyRecipients {
		return Bounce
	}
	return Next
}

// inTransaction reports the steps in which a reply speaks of the message, not of the host.
func inTransaction(stage smtpreply.Stage) bool {
	switch stage {
	case smtpreply.StageMail, smtpreply.StageRcpt, smtpreply.StageData, smtpreply.StageContent, smtpreply.StageDot:
		return true
	}
	return false
}

// SameHost reports that another address of the same host may be tried after a failure that leads on: the host has not
// answered to this message yet. A host that has is not asked again in the attempt (S-53, S-62).
func SameHost(fail *smtpreply.Error) bool {
	if lacks(fail) || fail.Reason == smtpreply.ReasonSelfSession {
		return false
	}
	return !inTransaction(fail.Stage) || fail.Code == 0 || fail.Reason == smtpreply.ReasonProtocol
}
