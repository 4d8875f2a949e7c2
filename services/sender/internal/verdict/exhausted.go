// SPDX-License-Identifier: Apache-2.0

package verdict

import "github.com/postrider/postrider/kit/smtpreply"

// Left is why one address of a route did not take the message.
type Left struct {
	// Host is the position of the host in the route.
	Host int
	// Reached says that a session was had, so that the host could have taken a message.
	Reached bool
	// Known says that what the host offers is known: EHLO was answered completely, or refused; or that the look-up of
	// its policy was complete.
	Known bool
	// Failure is why it was left.
	Failure *smtpreply.Error
}

// Exhausted judges a recipient for whom no host is left: hosts is how many the route has. It defers, except when all
// hosts said 521 (S-15, RFC 7504), when no host that was reached takes the size (S-45), or when every host was reached
// and lacks what the message needs (S-41, S-67, S-68). The failure returned is the one to be recorded, of the class
// that fits (RFC 3464, section 2.3.4).
func Exhausted(left []Left, hosts int) (Verdict, *smtpreply.Error) {
	telling := mostTelling(left)
	switch {
	case telling == nil:
		return Defer, &smtpreply.Error{
			Stage: smtpreply.StageConnect, Reason: smtpreply.ReasonConnect, Detail: "no host of the route could be tried",
		}
	case everyHost(left, hosts, func(l Left) bool { return refusesAll(l.Failure) }):
		return Bounce, telling
	}
	if size := tooLarge(left); size != nil {
		return Bounce, size
	}
	// A host with several addresses counts by those that told.
	if every := everyHost(known(left), hosts, func(l Left) bool { return lacks(l.Failure) }); every {
		return Bounce, mostTelling(known(left))
	}
	return Defer, temporary(telling)
}

// refusesAll reports 521 as greeting or in its place: the host takes no mail at all.
func refusesAll(fail *smtpreply.Error) bool {
	return fail.Code == 521 && fail.Reason == smtpreply.ReasonGreetingRefused
}

// lacks reports that the host does not offer what the message needs, or has no policy it needs.
func lacks(fail *smtpreply.Error) bool {
	switch fail.Reason {
	case smtpreply.ReasonSize, smtpreply.ReasonEightBit, smtpreply.ReasonSMTPUTF8, smtpreply.ReasonRequireTLSKeyword,
		smtpreply.ReasonRequireTLSPolicy:
		return true
	}
	return false
}

// tooLarge gives the failure of a message that no host that was reached takes for its size.
func tooLarge(left []Left) *smtpreply.Error {
	var size *smtpreply.Error
	for _, l := range left {
		switch {
		case l.Failure.Reason == smtpreply.ReasonSize:
			size = l.Failure
		case l.Reached:
			return nil
		}
	}
	return size
}

// known gives the entries of hosts of which it is known what they offer.
func known(left []Left) []Left {
	var told []Left
	for _, l := range left {
		if l.Known {
			told = append(told, l)
		}
	}
	return told
}

// everyHost reports that each of the route's hosts has an entry and all entries are as wanted.
func everyHost(left []Left, hosts int, wanted func(Left) bool) bool {
	seen := map[int]bool{}
	for _, l := range left {
		if !wanted(l) {
			return false
		}
		seen[l.Host] = true
	}
	return len(seen) == hosts && hosts > 0
}

// mostTelling is the failure that says most to the sender of the mail: a reply about the message before a reply about
// the session before silence; of equals the last.
func mostTelling(left []Left) *smtpreply.Error {
	var best *smtpreply.Error
	rank := func(e *smtpreply.Error) int {
		switch {
		case e == nil:
			return -1
		case e.Code != 0 && inTransaction(e.Stage):
			return 3
		case e.Code != 0 || lacks(e):
			return 2
		case e.Reason == smtpreply.ReasonNoLocalRoute:
			return 0
		default:
			return 1
		}
	}
	for _, l := range left {
		if rank(l.Failure) >= rank(best) {
			best = l.Failure
		}
	}
	return best
}

// temporary is the failure with its recorded status in class 4, as a deferral has it.
func temporary(fail *smtpreply.Error) *smtpreply.Error {
	status := fail.RecordedStatus()
	if status.Class == 4 {
		return fail
	}
	deferred := *fail
	deferred.Status = status.WithClass(4)
	return &deferred
}
