// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// JoinedSubject returns the subject of the notifications that are told together at a time: the end of their window.
func JoinedSubject(due time.Time) string { return "joined." + strconv.FormatInt(due.Unix(), 10) }

// JoinedSubjects returns the filter that matches all joined notifications.
func JoinedSubjects() string { return "joined.*" }

// JoinedDue returns the time of a subject made by JoinedSubject; ok is false for any other subject.
func JoinedDue(subject string) (due time.Time, ok bool) {
	text, found := strings.CutPrefix(subject, "joined.")
	if !found {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseUint(text, 10, 62)
	if err != nil || strconv.FormatUint(seconds, 10) != text {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}

// JoinedWindows returns, in rising order, the ends of the windows that hold joined notifications, and the server's time.
func JoinedWindows(ctx context.Context, js jetstream.JetStream) (due []time.Time, now time.Time, err error) {
	s, err := js.Stream(ctx, StreamJoined)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("look up stream %s: %w", StreamJoined, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(JoinedSubjects()))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("state of stream %s: %w", StreamJoined, err)
	}
	for subject := range info.State.Subjects {
		if at, ok := JoinedDue(subject); ok {
			due = append(due, at)
		}
	}
	slices.SortFunc(due, time.Time.Compare)
	return due, info.TimeStamp, nil
}

// PurgeJoined removes the joined notifications of a window.
func PurgeJoined(ctx context.Context, js jetstream.JetStream, due time.Time) error {
	s, err := js.Stream(ctx, StreamJoined)
	if err != nil {
		return fmt.Errorf("purge %s: %w", JoinedSubject(due), err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(JoinedSubject(due))); err != nil {
		return fmt.Errorf("purge %s: %w", JoinedSubject(due), err)
	}
	return nil
}
