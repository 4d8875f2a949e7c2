// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"testing"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestCheckpointInAHeader(t *testing.T) {
	t.Parallel()
	h := segmentHeader(0)
	if c, err := CheckpointFrom(h); c != nil || err != nil {
		t.Errorf("without one: %v, %v", c, err)
	}
	for _, want := range []*eventv1.Checkpoint{
		{},
		{Window: 3, Floors: []*eventv1.Floor{{Stream: StreamMail, Sequence: 1 << 60}}, Clean: true},
	} {
		if err := SetCheckpoint(h, want); err != nil {
			t.Fatal(err)
		}
		if c, err := CheckpointFrom(h); err != nil || !proto.Equal(c, want) {
			t.Errorf("got %v, %v; want %v", c, err, want)
		}
	}
}

func FuzzCheckpointFrom(f *testing.F) {
	f.Add("")
	f.Add("EhAI")
	f.Add("CgkKBE1BSUwQBxgB")
	f.Fuzz(func(t *testing.T, text string) {
		h := segmentHeader(0)
		h.Set(HeaderCheckpoint, text)
		c, err := CheckpointFrom(h)
		if (c == nil) != (err != nil) {
			t.Fatalf("%q: %v, %v", text, c, err)
		}
		if c == nil {
			return
		}
		if err := SetCheckpoint(h, c); err != nil {
			t.Fatal(err)
		}
		if again, err := CheckpointFrom(h); err != nil || again.String() != c.String() {
			t.Fatalf("%v became %v, %v", c, again, err)
		}
	})
}
