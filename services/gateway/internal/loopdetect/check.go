// SPDX-License-Identifier: Apache-2.0

package loopdetect

import (
	"strconv"
	"strings"

	"github.com/postrider/postrider/kit/smtpreply"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
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
	// Rule is the rule and what it compares.
	Rule eventv1.LoopRule
	// Result is what it came to, Reason is set when it refuses.
	Result eventv1.LoopResult
	Reason smtpreply.Reason
	// Value is what was compared, Limit the most that is no loop.
	Value, Limit int
	// Recipients are the indices of those the rule refuses, nil when it refuses all or none.
	Recipients []int
}

// Loop reports whether the rule found a loop.
func (d Decision) Loop() bool { return d.Reason != "" }

// Name is the rule's id in behaviour.md.
func (d Decision) Name() string {
	name, _ := Describe(d.Rule)
	return name
}

// Values tells what was compared, such as "received=101".
func (d Decision) Values() string {
	_, what := Describe(d.Rule)
	return what + "=" + strconv.Itoa(d.Value)
}

// Describe returns the id a rule has in behaviour.md and the name of the value it compares.
func Describe(r eventv1.LoopRule) (name, what string) {
	switch r {
	case eventv1.LoopRule_LOOP_RULE_RECEIVED:
		return "L-01", "received"
	case eventv1.LoopRule_LOOP_RULE_HOP_NUMBER:
		return "L-03", "hop_number"
	case eventv1.LoopRule_LOOP_RULE_OWN_TRACE:
		return "L-04", "own_trace_returns"
	case eventv1.LoopRule_LOOP_RULE_RESPONSES:
		return "L-07", "equal_responses"
	case eventv1.LoopRule_LOOP_RULE_ORDINARY:
		return "L-07", "equal_messages"
	}
	return "rule " + strconv.Itoa(int(r)), "value"
}

// Word is a result as a word: no_loop, refused, reported, exempt, unshared.
func Word(r eventv1.LoopResult) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "LOOP_RESULT_"))
}

// held returns a rule's decision: a loop when the value is over the limit.
func held(rule eventv1.LoopRule, value, limit int, reason smtpreply.Reason) Decision {
	d := Decision{Rule: rule, Value: value, Limit: limit, Result: eventv1.LoopResult_LOOP_RESULT_NO_LOOP}
	if value > limit {
		d.Result, d.Reason = eventv1.LoopResult_LOOP_RESULT_REFUSED, reason
	}
	return d
}

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

// Record returns what is stored of the verdict with the message (L-09).
func (v Verdict) Record() *eventv1.LoopTrace {
	record := &eventv1.LoopTrace{HopNumber: v.Hop, ForeignTraces: uint32(v.Foreign), Decisions: make([]*eventv1.LoopDecision, len(v.Decisions))}
	for i, d := range v.Decisions {
		record.Decisions[i] = &eventv1.LoopDecision{Rule: d.Rule, Value: uint32(d.Value), Limit: uint32(d.Limit), Result: d.Result}
	}
	return record
}

// Check applies the rules that look at the header alone. maxHops is gateway.max_hops.
func (s *Sealer) Check(m Message, maxHops int) Verdict {
	v := Verdict{Decisions: make([]Decision, 0, 4)}
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
		held(eventv1.LoopRule_LOOP_RULE_RECEIVED, m.Received, maxHops, smtpreply.ReasonHops),
		held(eventv1.LoopRule_LOOP_RULE_HOP_NUMBER, int(v.Hop), maxHops, smtpreply.ReasonHops),
		s.returns(own, m.Recipients),
	)
	return v
}

// returns counts for each recipient how many of our traces name it (L-04).
func (s *Sealer) returns(own []Trace, recipients []string) Decision {
	named := make(map[string]int, len(own))
	for _, t := range own {
		for _, hash := range t.Recipients {
			named[hash]++
		}
	}
	most, over := 0, []int(nil)
	if len(named) > 0 {
		for i, key := range recipients {
			n := named[s.Recipient(key)]
			most = max(most, n)
			if n > maxReturns {
				over = append(over, i)
			}
		}
	}
	d := held(eventv1.LoopRule_LOOP_RULE_OWN_TRACE, most, maxReturns, smtpreply.ReasonOwnTrace)
	d.Recipients = over
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
