// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
)

const (
	// retention is how long a message is kept after its last recipient became final (O-02).
	retention = 7 * 24 * time.Hour
	// batchRows is about how many rows a transaction writes; batchPause how long they are collected while more comes;
	// idlePause after how long without anything new they are written.
	batchRows  = 2000
	batchPause = 500 * time.Millisecond
	idlePause  = 10 * time.Millisecond
	// observeEvery is how often the ends of the streams are looked at, pruneEvery how often old messages are removed.
	observeEvery = 500 * time.Millisecond
	pruneEvery   = 10 * time.Minute
	// readBytes bounds what a reader of one stream has fetched and not handed on.
	readBytes = 1 << 20
)

// Options say where a view lies and what it folds. All are required but Rules.
type Options struct {
	// Path is the SQLite file.
	Path string
	// Rebuild begins with an empty file.
	Rebuild bool
	JS      jetstream.JetStream
	// Rules are the operators' changes, which show before anything was done about them; nil shows none.
	Rules Rules
	Log   *slog.Logger
	Now   func() time.Time
}

// View is the status view of this gateway.
type View struct {
	o       Options
	db      *database
	streams []string
	lag     *lag
	since   time.Time // see reach

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with every commit
}

// Open opens the file and checks it against the streams, which must exist; one that does not fit them is emptied. Run
// then folds. Close must be called after Run has returned.
func Open(ctx context.Context, o Options) (*View, error) {
	if o.Rebuild {
		if err := removeDatabase(o.Path); err != nil {
			return nil, err
		}
	}
	v := &View{o: o, changed: make(chan struct{})}
	minutes, err := bus.RetryStreams(ctx, o.JS)
	if err != nil {
		return nil, err
	}
	v.streams = []string{bus.StreamMail, bus.StreamOutcome, bus.StreamPark}
	for _, m := range minutes {
		v.streams = append(v.streams, bus.RetryStream(m))
	}
	created, last, err := v.ends(ctx)
	if err != nil {
		return nil, err
	}
	if v.db, err = openDatabase(ctx, o.Path); err != nil {
		return nil, err
	}
	folded, err := v.db.positions(ctx, created, last)
	if errors.Is(err, errOtherFile) || damaged(err) {
		folded, err = v.empty(ctx, created)
	}
	if err == nil {
		v.since, err = v.db.reach(ctx, o.JS, folded[bus.StreamOutcome], o.Now())
	}
	if err != nil {
		v.Close()
		return nil, err
	}
	v.lag = newLag(o.Now, folded)
	return v, nil
}

// empty begins with a new file.
func (v *View) empty(ctx context.Context, created map[string]time.Time) (map[string]uint64, error) {
	v.o.Log.LogAttrs(ctx, slog.LevelWarn, "status view does not fit the queue, folding it anew")
	v.db.close()
	if err := removeDatabase(v.o.Path); err != nil {
		return nil, err
	}
	var err error
	if v.db, err = openDatabase(ctx, v.o.Path); err != nil {
		return nil, err
	}
	return v.db.positions(ctx, created, nil)
}

// ends asks when the streams were made and where they end.
func (v *View) ends(ctx context.Context) (created map[string]time.Time, last map[string]uint64, err error) {
	created, last = make(map[string]time.Time), make(map[string]uint64)
	for _, name := range v.streams {
		s, err := v.o.JS.Stream(ctx, name)
		if err != nil {
			return nil, nil, fmt.Errorf("state of stream %s: %w", name, err)
		}
		created[name], last[name] = s.CachedInfo().Created, s.CachedInfo().State.LastSeq
	}
	return created, last, nil
}

// foldable asks for the last message of each stream that is still there. It may lie before the stream's end: what was
// purged, or deleted, before the view came to it will never be folded.
func (v *View) foldable(ctx context.Context) (map[string]uint64, error) {
	last := make(map[string]uint64)
	for _, name := range v.streams {
		s, err := v.o.JS.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("state of stream %s: %w", name, err)
		}
		state := s.CachedInfo().State
		switch {
		case state.Msgs == 0 || v.lag.has(name, state.LastSeq):
		case state.NumDeleted == 0:
			last[name] = state.LastSeq
		default:
			if last[name], err = bus.LastMessage(ctx, v.o.JS, name); err != nil {
				return nil, err
			}
		}
	}
	return last, nil
}

// Close closes the file.
func (v *View) Close() { v.db.close() }

// Lag returns how far the view is behind the queue; ok is false before it has caught up once since the start.
func (v *View) Lag() (d time.Duration, ok bool) { return v.lag.behind() }

// maxKeyLag is how far behind the view may be for idempotency keys: what is younger the queue's server knows by itself.
const maxKeyLag = time.Minute

// Current returns an error while the view is more than a minute behind the queue (idempotency.Memory).
func (v *View) Current() error {
	behind, ok := v.Lag()
	if !ok {
		return errors.New("the status view is being folded")
	}
	if behind > maxKeyLag {
		return fmt.Errorf("the status view is %s behind", behind.Round(time.Second))
	}
	return nil
}

// committed wakes who waits for the view.
func (v *View) committed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *View) change() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}
