// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// errAgain: nothing to return yet, the consumer is good.
	errAgain = errors.New("again")
	// errLost: the consumer or something it sent is lost; make a new one at once.
	errLost = errors.New("consumer lost")
)

// received is a message with what the server says of it.
type received struct {
	msg  *nats.Msg
	meta *nats.MsgMetadata
}

// connect makes the consumer the reader pulls from, an ephemeral one without acks that begins at r.next. The
// server keeps it in memory and it may vanish at any time.
func (r *Reader) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	cfg := jetstream.ConsumerConfig{
		FilterSubjects: r.opts.Subjects, AckPolicy: jetstream.AckNonePolicy, MaxDeliver: 1, MemoryStorage: true,
		Replicas: 1, InactiveThreshold: readInactive, HeadersOnly: r.opts.HeadersOnly,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	switch {
	case r.next > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.next
	case !r.opts.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.opts.Since
	}
	c, err := r.js.CreateConsumer(ctx, r.opts.Stream, cfg)
	if err != nil {
		return fmt.Errorf("read stream %s: %w", r.opts.Stream, err)
	}
	info := c.CachedInfo()
	r.next = max(r.next, info.Delivered.Stream+1)
	r.mu.Lock()
	r.lost = false
	r.mu.Unlock()
	r.consumer, r.received, r.asked, r.missing = info.Name, 0, 0, time.Time{}
	return nil
}

// receive returns the next message of the consumer. Its error is errAgain, errLost, or one that may pass with
// time.
func (r *Reader) receive(ctx context.Context) (*received, error) {
	if r.consumer == "" {
		if err := r.connect(ctx); err != nil {
			return nil, err
		}
	}
	if r.asked == 0 {
		if err := r.request(); err != nil {
			return nil, err
		}
	}
	msg, err := r.wait(ctx)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(msg.Subject, r.inbox) {
		return nil, r.status(msg)
	}
	meta, err := msg.Metadata()
	if err != nil || meta.Consumer != r.consumer {
		return nil, errAgain // of a former consumer
	}
	if meta.Sequence.Consumer != r.received+1 {
		return nil, errLost // one before it did not arrive
	}
	r.received++
	r.asked--
	if meta.Sequence.Stream < r.next {
		return nil, errAgain
	}
	r.next = meta.Sequence.Stream + 1
	return &received{msg: msg, meta: meta}, nil
}

// wait waits for anything the server sends. What was asked for before a connection was lost is lost too.
func (r *Reader) wait(ctx context.Context) (*nats.Msg, error) {
	waitCtx, cancel := context.WithTimeout(ctx, readSilence)
	defer cancel()
	r.mu.Lock()
	lost := r.lost
	r.lost, r.wakeUp = false, cancel
	r.mu.Unlock()
	if lost {
		return nil, errLost
	}
	msg, err := r.sub.NextMsgWithContext(waitCtx)
	if err != nil && ctx.Err() == nil && waitCtx.Err() != nil {
		return nil, errLost
	}
	return msg, err
}

// watch looks after the connection until Close.
func (r *Reader) watch() {
	for range r.back {
		r.mu.Lock()
		r.lost = true
		if r.wakeUp != nil {
			r.wakeUp()
		}
		r.mu.Unlock()
	}
}

// request asks for the next messages.
func (r *Reader) request() error {
	ask := struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes,omitempty"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}{readBatch, r.opts.MaxBytes, readExpires, readHeartbeat}
	if r.single {
		ask.Batch, ask.MaxBytes, r.single = 1, 0, false
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	r.pull++
	subject := apiPrefix(r.js) + "CONSUMER.MSG.NEXT." + r.opts.Stream + "." + r.consumer
	if err := r.js.Conn().PublishRequest(subject, r.inbox+"."+strconv.Itoa(r.pull), body); err != nil {
		return fmt.Errorf("read stream %s: %w", r.opts.Stream, err)
	}
	r.asked = ask.Batch
	return nil
}

// status handles what the server says about a pull request instead of sending a message.
func (r *Reader) status(msg *nats.Msg) error {
	if msg.Subject != r.inbox+"."+strconv.Itoa(r.pull) {
		return errAgain // of a former request
	}
	switch code := msg.Header.Get("Status"); code {
	case "100": // heartbeat
		return errAgain
	case "404", "408": // nothing now; time over
		r.asked = 0
		return errAgain
	case "409":
		fresh := r.asked == readBatch
		r.asked = 0
		if strings.Contains(strings.ToLower(msg.Header.Get("Description")), "maxbytes") {
			// The next message does not fit into what is left; when nothing has come it does not fit at all.
			r.single = fresh
			return errAgain
		}
		return errLost // consumer deleted, leadership change, server shutdown
	default: // 503: no such consumer
		return errLost
	}
}
