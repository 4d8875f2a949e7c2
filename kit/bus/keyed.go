// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// An atomic batch costs about five flushes whatever its size, a single publish one.
	keyedSingles  = 8       // up to so many keyed groups go as single publishes, side by side
	keyedBatch    = 256     // at most so many in one atomic batch
	keyedMaxBytes = 4 << 20 // data of one batch
)

// sendKeyed sends keyed groups, each as a segment of its own: few as single publishes side by side, many in atomic
// batches.
func (a *Appender) sendKeyed(groups []*group) {
	for len(groups) > 0 {
		n, size := 0, 0
		for _, g := range groups[:min(len(groups), keyedBatch)] {
			if size += g.size; n > 0 && size > keyedMaxBytes {
				break
			}
			n++
		}
		part := groups[:n]
		groups = groups[n:]
		if len(part) <= keyedSingles || !a.sendBatch(part) {
			a.sendSingles(part)
		}
	}
}

// sendBatch sends groups in one atomic batch. It returns false when the batch was refused as a whole, as it is
// when one id is known (10201, 10158), or when its answer was lost: then they are sent one by one under the same
// ids, which is right in either case.
func (a *Appender) sendBatch(groups []*group) bool {
	outs := make([]*outgoing, len(groups))
	msgs := make([]*nats.Msg, len(groups))
	for i, g := range groups {
		outs[i] = a.keyedSegment(g)
		outs[i].msg.Header.Set(jetstream.MsgIDHeader, g.msgID)
		msgs[i] = outs[i].msg
	}
	ctx, cancel := context.WithTimeout(a.ctx, a.opts.PublishTimeout)
	defer cancel()
	// Without flow control there is one round trip, to the last message.
	ack, err := jetstreamext.PublishMsgBatch(ctx, a.js, msgs, jetstreamext.BatchFlowControl{AckTimeout: a.opts.PublishTimeout})
	if err != nil || ack.BatchSize != uint64(len(groups)) {
		return false
	}
	// A batch is stored in one go, so its sequences are consecutive; the answer has the last.
	for i, g := range groups {
		seq := ack.Sequence - uint64(len(groups)-1-i)
		a.observe(outs[i], seq, len(g.frames))
		a.answer([]*group{g}, a.position(outs[i], seq), false, nil)
	}
	return true
}

// sendSingles sends groups one by one, a few at a time.
func (a *Appender) sendSingles(groups []*group) {
	for part := range slices.Chunk(groups, keyedSingles) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, g := range part {
			o := a.keyedSegment(g)
			wg.Go(func() {
				seq, duplicate, err := a.publish(o)
				mu.Lock()
				defer mu.Unlock()
				if err == nil && !duplicate {
					a.observe(o, seq, len(g.frames))
				}
				a.answer([]*group{g}, a.position(o, seq), duplicate, err)
			})
		}
		wg.Wait()
	}
}

func (a *Appender) keyedSegment(g *group) *outgoing {
	header, data := EncodeSegment(g.frames)
	return &outgoing{id: g.msgID, msg: &nats.Msg{Subject: a.nextSubject(), Header: header, Data: data}}
}
