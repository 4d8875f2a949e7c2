// SPDX-License-Identifier: Apache-2.0

package loopdetect

import (
	"strconv"

	"github.com/postrider/postrider/kit/smtpreply"
)

// maxReturns is how often our own trace may come back for the same recipient without being a loop: once, since sending
// a message back is legal (L-04).
const maxReturns = 1

// maxHop keeps a hop number from running over.
const maxHop = 1 << 30

// Message is what the rules look at.
type Message struct {
	// Received is the number of Received fields in the submitted content.
	Received int
	// Traces are the unfolded values of the trace headers in the submitted content.
	Traces []string
	// Recipients are the addresses as mailaddr.Address.Key gives them.
	Recipients []string
	// Reports says that the message is a notification of ours, ReportedHop the hop number of the message it reports.
	Reports     bool
	ReportedHop uint32
}

// Decision is one rule's verdict, kept whichever way it went (L-09).
type Decision struct {
	// Rule is the rule's id in behaviour.md.
	Rule string
	// Reason is set when the rule refuses.
	Reason smtpreply.Reason
	// Value is what was compared, Limit the most that is no loop. What names the value.
	What         string
	Value, Limit int
	// Recipients are the indices of those the rule refuses, nil when it refuses all or none.
	Recipients []int
}

// Loop reports whether the rule found a loop.
func (d Decision) Loop() bool { return d.Reason != "" }

// Values tells what was compared, such as "received=101".
func (d Decision) Values() string { return d.What + "=" + strconv.Itoa(d.Value) }

// Verdict is what the rules together say.
type Verdict struct {
	// Decisions are all rules' decisions, in the order in which they were made.
	Decisions []Decision
	// Hop is the hop number the message leaves with.
	Hop uint32
	// Foreign is the number of trace headers that are not sealed with our key. They are ignored (L-03).
	Foreign int
}

// Refuses returns the first decision that found a loop.
func (v Verdict) Refuses() (Decision, bool) {
	for _, d := range v.Decisions {
		if d.Loop() {
			return d, true
		}
	}
	return Decision{}, false
}

// Check applies the rules. maxHops is gateway.max_hops.
func (s *Sealer) Check(m Message, maxHops int) Verdict {
	v := Verdict{}
	own := make([]Trace, 0, len(m.Traces))
	for _, value := range m.Traces {
		if t, ok := s.Open(value); ok && !repeats(own, t) {
			own = append(own, t)
		} else if !ok {
			v.Foreign++
		}
	}
	v.Hop = nextHop(own, m)
	v.Decisions = append(v.Decisions,
		hops("L-01", "received", m.Received, maxHops),
		hops("L-03", "hop_number", int(v.Hop), maxHops),
		s.returns(own, m.Recipients),
	)
	return v
}

// hops compares a count with the limit of hops.
func hops(rule, what string, value, limit int) Decision {
	d := Decision{Rule: rule, What: what, Value: value, Limit: limit}
	if value > limit {
		d.Reason = smtpreply.ReasonHops
	}
	return d
}

// returns counts for each recipient how many of our traces name it (L-04).
func (s *Sealer) returns(own []Trace, recipients []string) Decision {
	d := Decision{Rule: "L-04", What: "own_trace_returns", Limit: maxReturns}
	if len(own) == 0 {
		return d
	}
	named := make(map[string]int, len(own))
	for _, t := range own {
		for _, hash := range t.Recipients {
			named[hash]++
		}
	}
	for i, key := range recipients {
		n := named[s.Recipient(key)]
		d.Value = max(d.Value, n)
		if n > maxReturns {
			d.Reason = smtpreply.ReasonOwnTrace
			d.Recipients = append(d.Recipients, i)
		}
	}
	return d
}

// nextHop goes on from the highest hop number that came in, or from that of the message a notification reports.
func nextHop(own []Trace, m Message) uint32 {
	hop := uint32(0)
	if m.Reports {
		hop = min(m.ReportedHop, maxHop) + 1
	}
	for _, t := range own {
		hop = max(hop, t.Hop+1)
	}
	return hop
}

// repeats reports a trace of the same message: a copied header is not a further return.
func repeats(seen []Trace, t Trace) bool {
	for _, other := range seen {
		if other.MessageID == t.MessageID {
			return true
		}
	}
	return false
}
