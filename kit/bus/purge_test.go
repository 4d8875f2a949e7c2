// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// checkpoint appends an OUTCOME segment with floors and the fold's beginning in OUTCOME.
func checkpoint(tb testing.TB, js jetstream.JetStream, partition int, fold uint64, floors map[string]uint64) uint64 {
	tb.Helper()
	c := &eventv1.Checkpoint{}
	for stream, seq := range floors {
		c.Floors = append(c.Floors, &eventv1.Floor{Stream: stream, Sequence: seq})
	}
	if fold > 0 {
		c.Fold = []*eventv1.Floor{{Stream: StreamOutcome, Sequence: fold}}
	}
	h := segmentHeader(0)
	if err := SetCheckpoint(h, c); err != nil {
		tb.Fatal(err)
	}
	ack, err := js.PublishMsg(testContext(tb), &nats.Msg{Subject: OutcomeSubject(Quiet, partition), Header: h})
	if err != nil {
		tb.Fatal(err)
	}
	return ack.Sequence
}

func firstOf(tb testing.TB, js jetstream.JetStream, stream string) uint64 {
	tb.Helper()
	s, err := js.Stream(testContext(tb), stream)
	if err != nil {
		tb.Fatal(err)
	}
	return s.CachedInfo().State.FirstSeq
}

func TestPurge(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for range 5 {
		publish(t, js, MailSubject(0), "m")
	}
	for _, c := range []struct{ below, first uint64 }{{0, 1}, {1, 1}, {3, 3}, {2, 3}, {6, 6}} {
		if err := Purge(testContext(t), js, StreamMail, c.below); err != nil {
			t.Fatal(err)
		}
		if got := firstOf(t, js, StreamMail); got != c.first {
			t.Errorf("purged below %d: first is %d, want %d", c.below, got, c.first)
		}
	}
	if err := Purge(testContext(t), js, "RETRY_7", 5); err == nil {
		t.Error("a stream that is not there was purged")
	}
}

func TestPurgerGoesToTheLowestFloor(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for range 10 {
		publish(t, js, MailSubject(0), "m")
		publish(t, js, RetrySubject(5, 0), "m")
	}
	p := NewPurger(js, 2)
	purge := func(stand time.Duration, mail, retry uint64) {
		t.Helper()
		if err := p.Purge(testContext(t), stand); err != nil {
			t.Fatal(err)
		}
		if m, r := firstOf(t, js, StreamMail), firstOf(t, js, RetryStream(5)); m != mail || r != retry {
			t.Errorf("first of MAIL %d, of RETRY_5 %d; want %d and %d", m, r, mail, retry)
		}
	}
	checkpoint(t, js, 0, 0, map[string]uint64{StreamMail: 8, "RETRY_5": 4})
	purge(0, 1, 1) // partition 1 has no checkpoint: its mail is not done
	checkpoint(t, js, 1, 0, map[string]uint64{StreamMail: 6, "RETRY_5": 9})
	purge(0, 6, 4)
	checkpoint(t, js, 1, 0, map[string]uint64{StreamMail: 11})
	purge(0, 8, 4) // a checkpoint without the stream holds that stream
	checkpoint(t, js, 0, 0, map[string]uint64{StreamMail: 11, "RETRY_5": 11})
	purge(PurgeStand, 8, 4) // all of it is younger
	purge(0, 11, 4)
}

func TestPurgerLearnsAges(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	p := NewPurger(js, 1)
	now := time.Now()
	publish(t, js, MailSubject(0), "m")
	p.seen[StreamMail] = []sighting{
		{now.Add(-5 * time.Minute), 3}, {now.Add(-4 * time.Minute), 5}, {now.Add(-30 * time.Second), 9}, {now.Add(-10 * time.Second), 12},
	}
	for stand, want := range map[time.Duration]uint64{ShortStand: 10, PurgeStand: 6, 5 * time.Second: 13} {
		first, err := p.olderThan(testContext(t), StreamMail, stand)
		if err != nil || first != want {
			t.Errorf("older than %v: below %d, %v; want %d", stand, first, err, want)
		}
	}
	if seen := p.seen[StreamMail]; seen[0].last != 5 {
		t.Errorf("kept %+v", seen)
	}
}

func TestTrimOutcomeKeepsWhatIsNeeded(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	trim := func(o TrimOptions, want uint64) {
		t.Helper()
		o.Partitions = 2
		first, err := TrimOutcome(testContext(t), js, o)
		if err != nil || first != want {
			t.Errorf("%+v: first %d, %v; want %d", o, first, err, want)
		}
		if got := firstOf(t, js, StreamOutcome); got != want {
			t.Errorf("%+v: the stream begins at %d, want %d", o, got, want)
		}
	}
	if first, err := TrimOutcome(testContext(t), js, TrimOptions{MaxBytes: 1, NotPast: 100}); err != nil || first != 1 {
		t.Errorf("an empty stream: first %d, %v", first, err)
	}
	for range 10 {
		publish(t, js, OutcomeSubject(Notice, 0), "m")
	}
	all := TrimOptions{OlderThan: time.Nanosecond, MaxBytes: 1, NotPast: 100}
	trim(all, 1) // no partition has a checkpoint
	checkpoint(t, js, 0, 9, nil)
	trim(all, 1) // partition 1 has none
	checkpoint(t, js, 1, 7, nil)
	trim(TrimOptions{NotPast: 100}, 1)                           // nothing asked for
	trim(TrimOptions{OlderThan: time.Hour, NotPast: 100}, 1)     // nothing as old
	trim(TrimOptions{MaxBytes: 1 << 20, NotPast: 100}, 1)        // not as large
	trim(TrimOptions{OlderThan: time.Nanosecond, NotPast: 0}, 1) // nothing passed by the notifications
	trim(TrimOptions{OlderThan: time.Nanosecond, NotPast: 4}, 4) // passed up to 3
	trim(all, 7)                                                 // the fold of partition 1
	checkpoint(t, js, 1, 13, nil)                                // sequence 13, which folds from itself
	trim(all, 9)
	checkpoint(t, js, 0, 14, nil)
	trim(all, 13) // partition 1's checkpoint itself stays
	checkpoint(t, js, 1, 0, nil)
	trim(all, 13) // one that does not say where its fold begins keeps all
}

func TestTrimOutcomeBySizeAndAge(t *testing.T) {
	t.Parallel()
	_, js := startBus(t)
	for range 9 {
		publish(t, js, OutcomeSubject(Notice, 0), "m")
	}
	checkpoint(t, js, 0, 10, nil)
	s, err := js.Stream(testContext(t), StreamOutcome)
	if err != nil {
		t.Fatal(err)
	}
	half := int64(s.CachedInfo().State.Bytes) / 2
	first, err := TrimOutcome(testContext(t), js, TrimOptions{Partitions: 1, MaxBytes: half, NotPast: 10})
	if err != nil || first < 5 || first > 7 {
		t.Errorf("half the size: first %d, %v", first, err)
	}
	d, err := ReadSegment(testContext(t), js, StreamOutcome, 8)
	if err != nil {
		t.Fatal(err)
	}
	got, err := firstAfter(testContext(t), js, s.CachedInfo().State, d.Time)
	if err != nil || got != 8 {
		t.Errorf("stored at or after segment 8: %d, %v", got, err)
	}
	got, err = firstAfter(testContext(t), js, s.CachedInfo().State, time.Now().Add(time.Hour))
	if err != nil || got != 11 {
		t.Errorf("stored in an hour: %d, %v", got, err)
	}
}
