// SPDX-License-Identifier: Apache-2.0

package mxfailover

import (
	"fmt"
	"io"
	"slices"

	"github.com/postrider/postrider/kit/smtpreply"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

// attempt is one walk.
type attempt struct {
	w       *Walker
	route   *resolverv1.ResolveRouteResponse
	mail    Mail
	plan    []candidate
	budget  budget
	body    io.ReadSeekCloser
	outcome Outcome
	pending []int            // recipients that have no verdict yet
	left    [][]verdict.Left // for each recipient, why addresses were left
	skip    []map[int]bool   // for each recipient, the hosts not to ask again
	over    *smtpreply.Error // the walk has ended: the sender stops, the content cannot be sent, or the smarthost refuses us
}

func newAttempt(w *Walker, route *resolverv1.ResolveRouteResponse, m Mail) *attempt {
	n := len(m.Message.Recipients)
	a := &attempt{
		w: w, route: route, mail: m, plan: failingLast(plan(route, w.Port, m.Dialled), w.Memory), budget: budget{perHost: map[int]int{}},
		outcome: Outcome{Recipients: make([]Recipient, n)}, pending: make([]int, n), left: make([][]verdict.Left, n),
		skip: make([]map[int]bool, n),
	}
	for i := range n {
		a.pending[i] = i
	}
	return a
}

// next is the candidate to try behind position i, -1 when none is left.
func (a *attempt) next(i int) int {
	if a.over != nil {
		return -1
	}
	for i++; i < len(a.plan); i++ {
		c := &a.plan[i]
		if len(a.concerned(c.host)) == 0 {
			continue
		}
		if c.failure != nil || a.budget.allows(c.host) {
			return i
		}
	}
	return -1
}

// concerned are the pending recipients a host may be asked for.
func (a *attempt) concerned(host int) []int {
	if !slices.ContainsFunc(a.pending, func(r int) bool { return a.skip[r][host] }) {
		return a.pending
	}
	var rest []int
	for _, r := range a.pending {
		if !a.skip[r][host] {
			rest = append(rest, r)
		}
	}
	return rest
}

// leave notes why a host did not take the message for a recipient, and whether it may be asked again.
func (a *attempt) leave(recipient int, l verdict.Left) {
	a.left[recipient] = append(a.left[recipient], l)
	if l.Failure.Stage == smtpreply.StageLocal || verdict.SameHost(l.Failure) {
		return
	}
	if a.skip[recipient] == nil {
		a.skip[recipient] = map[int]bool{}
	}
	a.skip[recipient][l.Host] = true
}

// decide gives recipients their verdict and takes them off the list.
func (a *attempt) decide(recipient int, r Recipient) {
	a.outcome.Recipients[recipient] = r
	a.pending = slices.DeleteFunc(a.pending, func(i int) bool { return i == recipient })
}

// finish judges the recipients for whom no host is left.
func (a *attempt) finish() {
	for _, i := range slices.Clone(a.pending) {
		r := Recipient{AllRefused: allRefused(a.left[i])}
		switch {
		case a.over != nil:
			r.Verdict, r.Failure = verdict.Of(a.over, false), a.over
		default:
			r.Verdict, r.Failure = verdict.Exhausted(a.left[i], a.hosts())
		}
		r.Reply = r.Failure.Reply()
		r.Host = a.hostOf(i, r.Failure)
		a.decide(i, r)
	}
}

// hosts is the number of hosts in the route; a host none of whose addresses could be read counts.
func (a *attempt) hosts() int { return len(a.route.GetHosts()) }

// hostOf is the host whose reply a failure is.
func (a *attempt) hostOf(recipient int, fail *smtpreply.Error) string {
	if fail.Code == 0 {
		return ""
	}
	for _, l := range slices.Backward(a.left[recipient]) {
		if l.Failure.Code == fail.Code && slices.Equal(l.Failure.Text, fail.Text) {
			return a.hostName(l.Host)
		}
	}
	return ""
}

// hostName is the name a host is known under: that of the MX record, else the address literal.
func (a *attempt) hostName(host int) string {
	if name := a.route.GetHosts()[host].GetName(); name != "" {
		return name
	}
	return a.route.GetDomain()
}

// allRefused reports that hosts refused the session with 5yz and nothing better came (S-15).
func allRefused(left []verdict.Left) bool {
	refused := false
	for _, l := range left {
		switch {
		case l.Failure.Reason == smtpreply.ReasonGreetingRefused:
			refused = true
		case l.Reached:
			return false
		}
	}
	return refused
}

// message is the message for some of its recipients.
func (a *attempt) message(recipients []int) *smtpclient.Message {
	all := a.mail.Message
	if len(recipients) == len(all.Recipients) {
		return all
	}
	some := *all
	some.Recipients = make([]smtpclient.Recipient, len(recipients))
	for k, i := range recipients {
		some.Recipients[k] = all.Recipients[i]
	}
	return &some
}

// openBody opens the content when the first host is ready for it.
func (a *attempt) openBody() *smtpreply.Error {
	if a.body != nil {
		return nil
	}
	body, err := a.mail.OpenBody()
	if err != nil {
		a.outcome.BodyErr = fmt.Errorf("open the content: %w", err)
		return &smtpreply.Error{
			Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonBodyMissing, Detail: "the stored content cannot be read", Err: err,
		}
	}
	a.body = body
	a.mail.Message.Body = body
	return nil
}

func (a *attempt) closeBody() {
	if a.body != nil {
		_ = a.body.Close()
	}
}
