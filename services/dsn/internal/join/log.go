// SPDX-License-Identifier: Apache-2.0

package join

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/crashpoint"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Bounds of the pause before a notification is stored again, and of the time between two alarms about it.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	alarmEvery = time.Minute
	closeWait  = 2 * time.Second
)

// line names one recipient of one notification. What has the same name is the same.
type line struct {
	outcome, kind string
	index         uint32
}

// Log stores what is joined. It may be used by several goroutines. Close must be called.
type Log struct {
	js  jetstream.JetStream
	log *slog.Logger
	// stored holds the lines, of outcomes that may be handled again, that were stored before Open.
	stored map[line]bool

	mu        sync.Mutex
	closed    bool
	appenders map[int64]*bus.Appender // by the end of the window
}

// Open reads which notifications, of outcomes behind the cursors, are stored already.
func Open(ctx context.Context, js jetstream.JetStream, cursors []bus.Cursor, log *slog.Logger) (*Log, error) {
	l := &Log{js: js, log: log, stored: map[line]bool{}, appenders: map[int64]*bus.Appender{}}
	err := read(ctx, js, bus.JoinedSubjects(), log, func(n *eventv1.JoinedNotice) error {
		partition := int(n.GetPartition())
		if partition < len(cursors) && n.GetSequence() <= cursors[partition].Sequence {
			return nil
		}
		for _, r := range n.GetRecipients() {
			l.stored[line{n.GetOutcomeId(), n.GetKind(), r.GetIndex()}] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Stored reports a recipient of a notification that was stored before Open, and so before a crash.
func (l *Log) Stored(outcomeID, kind string, index int) bool {
	return len(l.stored) > 0 && l.stored[line{outcomeID, kind, uint32(index)}]
}

// Join stores a notification that is told at the end of a window. It tries until that is done; the only error is that of
// ctx. What was stored before is not stored again.
func (l *Log) Join(ctx context.Context, due time.Time, n *eventv1.JoinedNotice) error {
	if l.known(n) {
		return nil
	}
	crashpoint.At("dsn.join.before")
	err := l.append(ctx, due, n)
	crashpoint.At("dsn.join.after")
	return err
}

// append stores notifications, at most 256 at once.
func (l *Log) append(ctx context.Context, due time.Time, notices ...*eventv1.JoinedNotice) error {
	var frames []bus.Frame
	for _, n := range notices {
		frame, err := bus.FrameJoined(n)
		if err != nil {
			return err
		}
		frames = append(frames, frame)
	}
	var alarmed time.Time
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		_, err := l.appender(due).Append(ctx, frames)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(alarmed) >= alarmEvery {
			alarmed = time.Now()
			l.log.LogAttrs(ctx, slog.LevelError, "joined notifications cannot be stored, trying again",
				slog.String("message_id", notices[0].GetMessageId()), slog.Int("notifications", len(notices)), slog.Any("error", err))
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func (l *Log) known(n *eventv1.JoinedNotice) bool {
	for _, r := range n.GetRecipients() {
		if !l.Stored(n.GetOutcomeId(), n.GetKind(), int(r.GetIndex())) {
			return false
		}
	}
	return true
}

// appender returns the appender of a window.
func (l *Log) appender(due time.Time) *bus.Appender {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.appenders[due.Unix()]
	if a == nil {
		a = bus.NewAppender(l.js, bus.AppenderOptions{Subjects: []string{bus.JoinedSubject(due)}})
		if l.closed {
			end(a)
			return a
		}
		l.appenders[due.Unix()] = a
	}
	return a
}

// done ends the appender of a window to which nothing is added any more.
func (l *Log) done(due time.Time) {
	l.mu.Lock()
	a := l.appenders[due.Unix()]
	delete(l.appenders, due.Unix())
	l.mu.Unlock()
	if a != nil {
		end(a)
	}
}

// Close ends the log.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, a := range l.appenders {
		end(a)
	}
}

func end(a *bus.Appender) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = a.Close(ctx) // who waits for what is not stored is told
}

// read calls fn for each notification stored under a subject. One that cannot be read is reported and passed.
func read(ctx context.Context, js jetstream.JetStream, subject string, log *slog.Logger, fn func(*eventv1.JoinedNotice) error) error {
	r, err := bus.NewReader(ctx, js, bus.ReaderOptions{Stream: bus.StreamJoined, Subjects: []string{subject}})
	if err != nil {
		return fmt.Errorf("joined notifications: %w", err)
	}
	defer func() { _ = r.Close() }() // the server forgets its side of it anyway
	return r.ReadToEnd(ctx, func(d bus.Delivery) error {
		fault := d.Err
		for i := range d.Segment.Len() {
			f, err := d.Segment.Frame(i)
			var n *eventv1.JoinedNotice
			if err == nil {
				n, err = f.Joined()
			}
			if err != nil {
				fault = errors.Join(fault, err)
				continue
			}
			if err := fn(n); err != nil {
				return err
			}
		}
		if fault != nil {
			log.LogAttrs(ctx, slog.LevelError, "joined notification cannot be read, nobody is told of it",
				slog.Uint64("sequence", d.Sequence), slog.Any("error", fault))
		}
		return nil
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
