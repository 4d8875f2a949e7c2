// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"slices"
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestSubjectsHaveTheirStoredForm(t *testing.T) {
	for got, want := range map[string]string{
		MailSubject(0):             "mail.0",
		MailSubject(AnyPartition):  "mail.*",
		RetrySubject(240, 15):      "retry.240.15",
		RetrySubject(5, -1):        "retry.5.*",
		RetryStream(10):            "RETRY_10",
		OutcomeSubject(Quiet, 3):   "outcome.quiet.3",
		OutcomeSubject(Notice, 3):  "outcome.notice.3",
		BodySubject("01J", 7):      "body.01J.7",
		ParkSubject(2, "a.test"):   "park.2.52dcf5eeb77a59de2eb7221158d2316a",
		ParkSubjects(2):            "park.2.*",
		ParkSubjects(AnyPartition): "park.*.*",
		OutcomeID("01J", 2, 3):     "01J.2.3",
		RecordID(&eventv1.QueuedMail{MessageId: "01J", Part: 2}): "01J.2",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSubjectsGiveBackStreamAndPartition(t *testing.T) {
	for _, c := range []struct {
		subject, stream string
		partition       int
	}{
		{MailSubject(12), StreamMail, 12},
		{RetrySubject(40, 3), "RETRY_40", 3},
		{ParkSubject(4, "[192.0.2.1]"), StreamPark, 4},
		{OutcomeSubject(Notice, 5), StreamOutcome, 5},
	} {
		if stream, ok := StreamOf(c.subject); !ok || stream != c.stream {
			t.Errorf("StreamOf(%q) = %q, %v", c.subject, stream, ok)
		}
		if p, ok := PartitionOf(c.subject); !ok || p != c.partition {
			t.Errorf("PartitionOf(%q) = %d, %v", c.subject, p, ok)
		}
	}
	for _, s := range []string{"", "mail", "mail.x", "mail.-1", "mail.01", "retry.5", "other.1", "body.1.1", "retry.5.+1"} {
		if p, ok := PartitionOf(s); ok {
			t.Errorf("PartitionOf(%q) = %d, want none", s, p)
		}
	}
	for _, s := range []string{"", "mail", "retry.x.1", "other.1", "outcome.quiet"} {
		if stream, ok := StreamOf(s); ok {
			t.Errorf("StreamOf(%q) = %q, want none", s, stream)
		}
	}
}

func TestRetryStreamMinutes(t *testing.T) {
	for _, m := range RetryMinutes() {
		if got, ok := RetryStreamMinutes(RetryStream(m)); !ok || got != m {
			t.Errorf("RetryStreamMinutes(%s) = %d, %v", RetryStream(m), got, ok)
		}
	}
	for _, s := range []string{"MAIL", "RETRY_", "RETRY_x", "RETRY_05", "RETRY_-1"} {
		if _, ok := RetryStreamMinutes(s); ok {
			t.Errorf("%q taken for a RETRY stream", s)
		}
	}
	if !slices.IsSorted(RetryMinutes()) {
		t.Error("pauses are not in rising order")
	}
}

func TestFencedSubjects(t *testing.T) {
	want := "outcome.quiet.1 outcome.notice.1 park.1.owner retry.0.1 retry.5.1"
	if got := strings.Join(FencedSubjects(1, []int{0, 5}), " "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeyHashKeepsTenantAndKeyApart(t *testing.T) {
	if slices.Equal(KeyHash("ab", "c"), KeyHash("a", "bc")) {
		t.Error("two tenants share a key's hash")
	}
	id := KeyedMsgID(KeyHash("", "order-1"))
	if !strings.HasPrefix(id, "k.") || len(id) != 2+64 {
		t.Errorf("unexpected id %q", id)
	}
}
