// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

const (
	changePrefix   = "change."
	progressPrefix = "progress."
	// changesStream is the stream below BucketChanges.
	changesStream = "KV_" + BucketChanges
)

func changesSubject(key string) string { return "$KV." + BucketChanges + "." + key }

// ChangeEvent is one entry of the operators' changes as it was written or removed.
type ChangeEvent struct {
	// Sequence orders all entries: of two changes the later has the higher one.
	Sequence uint64
	ID       string
	// Partition is that of an entry of progress; AnyPartition for the change itself.
	Partition int
	// Change is nil when the entry was removed.
	Change *eventv1.Change
}

// Changes keeps the operators' changes: each is an entry that never changes, with one entry of progress for each
// partition, written by its owner alone.
type Changes struct{ js jetstream.JetStream }

// OpenChanges opens the store of changes, which Ensure has made.
func OpenChanges(ctx context.Context, js jetstream.JetStream) (*Changes, error) {
	if _, err := js.KeyValue(ctx, BucketChanges); err != nil {
		return nil, fmt.Errorf("key-value bucket %s: %w", BucketChanges, err)
	}
	return &Changes{js: js}, nil
}

// Add stores a new change. An answer that was lost is found by its id, so after an error Add with the same change tells.
func (c *Changes) Add(ctx context.Context, change *eventv1.Change) (sequence uint64, err error) {
	key := changePrefix + change.GetId()
	sequence, err = c.put(ctx, key, change, 0)
	if classify(err) != refused {
		return sequence, err
	}
	m, err := leaderGet(ctx, c.js, changesStream, getRequest{LastFor: changesSubject(key)})
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", key, err)
	}
	return m.Sequence, nil
}

// SaveProgress stores how far the owner of a partition has come with a change, if the entry still has the revision given
// (0: there is none), and returns the new one. A refusal wraps ErrProgressMoved: a former owner has written since.
func (c *Changes) SaveProgress(ctx context.Context, partition int, progress *eventv1.Change, revision uint64) (uint64, error) {
	key := progressPrefix + progress.GetId() + "." + strconv.Itoa(partition)
	sequence, err := c.put(ctx, key, progress, revision)
	if classify(err) == refused {
		return 0, fmt.Errorf("%w: %w", ErrProgressMoved, err)
	}
	return sequence, err
}

// ErrProgressMoved says that progress of a change was written by somebody else, or that the answer to an earlier try was
// lost. Progress tells.
var ErrProgressMoved = errors.New("progress of the change was moved")

// Progress returns the entry of a partition as the leader has it, nil with the revision to state when there is none.
func (c *Changes) Progress(ctx context.Context, id string, partition int) (progress *eventv1.Change, revision uint64, err error) {
	key := progressPrefix + id + "." + strconv.Itoa(partition)
	m, err := leaderGet(ctx, c.js, changesStream, getRequest{LastFor: changesSubject(key)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	if len(m.Data) == 0 { // the mark of a removed entry
		return nil, m.Sequence, nil
	}
	progress = new(eventv1.Change)
	if err := proto.Unmarshal(m.Data, progress); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	return progress, m.Sequence, nil
}

// Remove removes a change and then its progress. The order matters: without its progress a change would be carried out
// again.
func (c *Changes) Remove(ctx context.Context, id string, partitions int) error {
	if err := c.remove(ctx, changePrefix+id); err != nil {
		return err
	}
	for p := range partitions {
		if err := c.remove(ctx, progressPrefix+id+"."+strconv.Itoa(p)); err != nil {
			return err
		}
	}
	return nil
}

// remove writes the mark of a removed key, which runs out by itself.
func (c *Changes) remove(ctx context.Context, key string) error {
	_, err := leaderGet(ctx, c.js, changesStream, getRequest{LastFor: changesSubject(key)})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err == nil {
		_, err = publishOnce(ctx, c.js, &nats.Msg{Subject: changesSubject(key), Header: nats.Header{
			kvOperation: {"DEL"}, jetstream.MsgTTLHeader: {strconv.Itoa(int(limitMarkerTTL/time.Second)) + "s"},
		}}, defaultPublishTimeout)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// put writes a key if its revision is the one given. It tries once.
func (c *Changes) put(ctx context.Context, key string, change *eventv1.Change, revision uint64) (uint64, error) {
	raw, err := proto.Marshal(change)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", key, err)
	}
	m := &nats.Msg{Subject: changesSubject(key), Data: raw, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)},
	}}
	ack, err := publishOnce(ctx, c.js, m, defaultPublishTimeout)
	if err != nil {
		return 0, fmt.Errorf("store %s: %w", key, err)
	}
	return ack.Sequence, nil
}

// Last returns the sequence of the last entry there is, as the leader has it, 0 without any. A mirror that has come so far
// has everything that was answered before.
func (c *Changes) Last(ctx context.Context) (uint64, error) {
	return lastOfSubject(ctx, c.js, changesStream, changesSubject(">"))
}

// Watch tells of all entries there are, then calls whole, and tells of each that is written or removed until ctx ends or
// reading fails. An event without ID is of an entry that cannot be read; only its sequence counts.
func (c *Changes) Watch(ctx context.Context, tell func(ChangeEvent), whole func()) error {
	r, err := NewReader(ctx, c.js, ReaderOptions{Stream: changesStream})
	if err != nil {
		return fmt.Errorf("watch the changes: %w", err)
	}
	defer func() { _ = r.Close() }()
	err = r.ReadToEnd(ctx, func(d Delivery) error {
		tell(changeEvent(d))
		return nil
	})
	if err != nil {
		return fmt.Errorf("watch the changes: %w", err)
	}
	whole()
	for {
		d, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("watch the changes: %w", err)
		}
		tell(changeEvent(d))
	}
}

func changeEvent(d Delivery) ChangeEvent {
	e := ChangeEvent{Sequence: d.Sequence, Partition: AnyPartition}
	key := strings.TrimPrefix(d.Subject, changesSubject(""))
	id, isChange := strings.CutPrefix(key, changePrefix)
	if !isChange {
		rest, isProgress := strings.CutPrefix(key, progressPrefix)
		var partition string
		id, partition, _ = strings.Cut(rest, ".")
		n, isNumber := decimal(partition)
		if !isProgress || !isNumber {
			return e
		}
		e.Partition = n
	}
	if len(d.Data) > 0 { // otherwise it was removed, or the mark of that ran out
		change := new(eventv1.Change)
		if proto.Unmarshal(d.Data, change) != nil {
			return e // of another version; it is as if it were not there
		}
		e.Change = change
	}
	e.ID = id
	return e
}
