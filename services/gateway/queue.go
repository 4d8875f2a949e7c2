// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bodystore"
	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/kit/changes"
	"github.com/postrider/postrider/kit/diskspace"
	"github.com/postrider/postrider/kit/maillog"
	"github.com/postrider/postrider/services/gateway/internal/enqueue"
	"github.com/postrider/postrider/services/gateway/internal/idempotency"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/recurrence"
	"github.com/postrider/postrider/services/gateway/internal/refusals"
	"github.com/postrider/postrider/services/gateway/internal/room"
	"github.com/postrider/postrider/services/gateway/internal/statusview"
	"github.com/postrider/postrider/services/gateway/internal/submit"
)

// findPause is how long the gateway waits before it looks for the queue again.
const findPause = 500 * time.Millisecond

// viewFile is the status view's name in its folder.
const viewFile = "status-view.db"

// queue is everything of the gateway that needs the queue.
type queue struct {
	g        *Gateway
	js       jetstream.JetStream
	sealer   *loopdetect.Sealer
	repeats  *loopdetect.Repeats
	counter  *recurrence.Counter
	refusals *refusals.Book
	bodies   bodystore.Store
	appender *bus.Appender
	gauge    *room.Gauge
	view     *statusview.Keeper
	changes  *bus.Changes
	mirror   *changes.Mirror
}

// openQueue finds the streams, or makes them, and builds what works on them. While the server is away it tries again; a
// queue that is another one than configured is an error.
func (g *Gateway) openQueue(ctx context.Context) (*queue, error) {
	js, err := jetstream.New(g.env.NATS)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q := &queue{g: g, js: js}
	for told := false; ; told = true {
		err := q.find(ctx)
		if err == nil {
			return q, q.build()
		}
		if ctx.Err() != nil {
			return nil, nil //nolint:nilnil // stopped before it began
		}
		if _, other := errors.AsType[*bus.MismatchError](err); other {
			return nil, err
		}
		if !told {
			g.env.Log.LogAttrs(ctx, slog.LevelWarn, "waiting for the queue", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // stopped before it began
		case <-time.After(findPause):
		}
	}
}

func (q *queue) embedded() bool { return q.g.env.NATSConfig.Embedded() }

func (q *queue) partitions() int { return q.g.env.Queue.PartitionCount(q.embedded()) }

// find makes the streams and reads the key.
func (q *queue) find(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	nats := q.g.env.NATSConfig
	if !q.g.env.NATS.IsConnected() {
		return errors.New("not connected to the queue's server")
	}
	err := bus.Ensure(ctx, q.js, bus.Layout{
		Partitions: q.partitions(), Replicas: nats.ReplicaCount(),
		MaxStore: nats.MaxStore.Bytes(), OutcomeBytes: nats.OutcomeBytes.Bytes(),
	})
	if err != nil {
		return err
	}
	key := q.g.key
	if key == nil {
		if key, err = sharedKey(ctx, q.js); err != nil {
			return err
		}
	}
	if q.changes, err = bus.OpenChanges(ctx, q.js); err != nil {
		return err
	}
	q.mirror = changes.NewMirror(q.changes)
	q.sealer = loopdetect.NewSealer(*key)
	counts, err := bus.OpenSharedKeys(ctx, q.js, recurrence.Window+time.Minute)
	if err != nil {
		return err
	}
	limits := q.g.cfg.Loop
	q.counter = recurrence.New(counts, limits.EqualResponses, time.Now)
	q.repeats = loopdetect.NewRepeats(*key, q.counter, loopdetect.Limits{
		Responses: limits.EqualResponses, Report: limits.ReportEqual, Hold: limits.HoldOrdinary,
	})
	refused, err := bus.OpenSharedKeys(ctx, q.js, refusals.Kept)
	if err != nil {
		return err
	}
	q.refusals = refusals.New(refused)
	folder := "" // contents too lie on other machines
	if q.embedded() {
		folder = nats.DataDir
	}
	q.bodies, err = bodystore.Open(q.js, folder)
	return err
}

// build makes the parts that work on the streams.
func (q *queue) build() error {
	env := q.g.env
	limit := q.g.cfg.queueLimit(env.NATSConfig.MaxStore)
	roomOptions := room.Options{
		Conn: env.NATS, Backlog: room.Streams(q.js, q.partitions(), q.bodies.Usage, limit/2), Limit: limit,
		Store: env.NATSConfig.MaxStore.Bytes(), Log: env.Log, Now: time.Now,
	}
	if q.embedded() {
		roomOptions.Disk = func() (int, error) { return diskspace.Used(env.NATSConfig.DataDir) }
	}
	q.gauge = room.New(roomOptions)
	folder := q.g.cfg.ViewDir
	if folder == "" {
		folder = env.NATSConfig.DataDir
	}
	var err error
	q.view, err = statusview.NewKeeper(statusview.Options{
		Path: filepath.Join(folder, viewFile), Rebuild: q.g.cfg.RebuildView, JS: q.js, Rules: q.mirror, Log: env.Log, Now: time.Now,
	}, env.Meter.Meter(scope))
	if err != nil {
		return err
	}
	subjects := make([]string, q.partitions())
	for p := range subjects {
		subjects[p] = bus.MailSubject(p)
	}
	q.appender = bus.NewAppender(q.js, bus.AppenderOptions{Subjects: subjects, Observe: q.g.meters.stored})
	return nil
}

// submitOptions returns the parts of a submission.
func (q *queue) submitOptions() submit.Options {
	env := q.g.env
	tracer := env.Tracer.Tracer(scope)
	return submit.Options{
		Node: q.g.node, Rules: q.g.cfg.rules(), MaxHops: q.g.cfg.MaxHops, Sealer: q.sealer,
		Repeats: q.repeats, Refusals: q.refusals, Room: q.gauge,
		Queue: enqueue.NewQueue(q.appender, q.bodies, tracer), Keys: idempotency.New(q.view, segments{q.js}),
		Tracer: tracer, Log: maillog.New(env.Log), Meter: q.g.meters.submit, Now: time.Now,
	}
}

// segments reads messages back from the queue (idempotency.Log).
type segments struct{ js jetstream.JetStream }

// At returns the message whose first record lies at a position.
func (s segments) At(ctx context.Context, at bus.Position) (idempotency.Earlier, error) {
	d, err := bus.ReadSegment(ctx, s.js, at.Stream, at.Sequence)
	if err == nil {
		err = d.Err
	}
	if err != nil {
		return idempotency.Earlier{}, err
	}
	return idempotency.FromSegment(d.Segment, at.Index)
}
