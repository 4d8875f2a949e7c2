// SPDX-License-Identifier: Apache-2.0

package smtpreply

import (
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// TestStage_MatchesTheContract: words and numbers are those of event.v1.Stage, one for one.
func TestStage_MatchesTheContract(t *testing.T) {
	seen := map[string]bool{}
	for number, name := range eventv1.Stage_name {
		want := strings.ToLower(strings.TrimPrefix(name, "STAGE_"))
		got := StageFromProto(eventv1.Stage(number))
		if got.String() != want {
			t.Errorf("stage %d is %q, the contract says %q", number, got, want)
		}
		if got.Proto() != eventv1.Stage(number) {
			t.Errorf("stage %d comes back as %d", number, got.Proto())
		}
		if seen[got.String()] {
			t.Errorf("two stages are called %q", got)
		}
		seen[got.String()] = true
	}
}

func TestStage_OfANewerBinaryIsUnspecified(t *testing.T) {
	for _, number := range []int32{-1, 17, 1 << 30} {
		if got := StageFromProto(eventv1.Stage(number)); got != StageUnspecified {
			t.Errorf("StageFromProto(%d) = %v", number, got)
		}
		if got := Stage(number).Proto(); got != eventv1.Stage_STAGE_UNSPECIFIED {
			t.Errorf("Stage(%d).Proto() = %v", number, got)
		}
		if got := Stage(number).String(); got != "unspecified" {
			t.Errorf("Stage(%d).String() = %q", number, got)
		}
	}
}
