// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestReadNextFindsTheNextOfItsSubject(t *testing.T) {
	_, js := startBus(t, func(l *Layout) { l.Partitions = 2 })
	ctx := testContext(t)
	if _, err := ReadNext(ctx, js, RetryStream(5), RetrySubject(5, 1), 0); !errors.Is(err, ErrNoMore) {
		t.Fatalf("empty stream: %v", err)
	}
	for i, partition := range []int{0, 1, 0, 1, 0} {
		h, data := EncodeSegment([]Frame{{Meta: []byte{}, Content: []byte{byte(i)}}})
		if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: RetrySubject(5, partition), Header: h, Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[uint64]uint64{0: 2, 1: 2, 2: 2, 3: 4, 4: 4} {
		d, err := ReadNext(ctx, js, RetryStream(5), RetrySubject(5, 1), from)
		if err != nil || d.Sequence != want || d.Segment.Len() != 1 || d.Subject != RetrySubject(5, 1) || d.Time.IsZero() {
			t.Errorf("from %d: %d, %v; want %d", from, d.Sequence, err, want)
		}
	}
	if _, err := ReadNext(ctx, js, RetryStream(5), RetrySubject(5, 1), 5); !errors.Is(err, ErrNoMore) {
		t.Errorf("behind the last: %v", err)
	}
}
