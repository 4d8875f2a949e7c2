// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"slices"
	"testing"
	"time"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestJoinedSubjectGivesBackItsTime(t *testing.T) {
	due := time.Unix(1762077600, 0).UTC()
	if stream, ok := StreamOf(JoinedSubject(due)); !ok || stream != StreamJoined {
		t.Errorf("StreamOf(%q) = %q, %v", JoinedSubject(due), stream, ok)
	}
	if at, ok := JoinedDue(JoinedSubject(due)); !ok || !at.Equal(due) {
		t.Errorf("JoinedDue(%q) = %v, %v", JoinedSubject(due), at, ok)
	}
	for _, s := range []string{"", "joined", "joined.", "joined.-1", "joined.x", "joined.01", "joined.99999999999999999999", "mail.1"} {
		if at, ok := JoinedDue(s); ok {
			t.Errorf("JoinedDue(%q) = %v, want none", s, at)
		}
	}
}

func TestFrameJoinedComesBack(t *testing.T) {
	f, err := FrameJoined(&eventv1.JoinedNotice{OutcomeId: "01J.1.1", Kind: "failed"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Joined()
	if err != nil || n.GetOutcomeId() != "01J.1.1" || n.GetKind() != "failed" {
		t.Errorf("Joined = %v, %v", n, err)
	}
	if _, err := (Frame{Meta: []byte{0xff}}).Joined(); err == nil {
		t.Error("no error for what is no JoinedNotice")
	}
}

func TestJoinedWindowsAreListedAndPurgedOneByOne(t *testing.T) {
	_, js := startBus(t)
	ctx := testContext(t)
	if due, _, err := JoinedWindows(ctx, js); err != nil || len(due) != 0 {
		t.Fatalf("windows at first: %v, %v", due, err)
	}
	first, second := time.Unix(1000, 0).UTC(), time.Unix(900, 0).UTC()
	f, err := FrameJoined(&eventv1.JoinedNotice{OutcomeId: "01J.1.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{first, second, first} {
		a := NewAppender(js, AppenderOptions{Subjects: []string{JoinedSubject(at)}})
		if _, err := a.Append(ctx, []Frame{f}); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	due, now, err := JoinedWindows(ctx, js)
	if err != nil || !slices.EqualFunc(due, []time.Time{second, first}, time.Time.Equal) || time.Since(now).Abs() > time.Minute {
		t.Fatalf("windows %v at %v, %v", due, now, err)
	}
	if err := PurgeJoined(ctx, js, second); err != nil {
		t.Fatal(err)
	}
	if due, _, err = JoinedWindows(ctx, js); err != nil || !slices.EqualFunc(due, []time.Time{first}, time.Time.Equal) {
		t.Errorf("windows after the purge of one: %v, %v", due, err)
	}
}
