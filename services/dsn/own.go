// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"context"
	"errors"
	"log/slog"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/services/dsn/internal/follow"
)

// leaseName is the lease of the one process that makes notifications. Were there two for a moment, the idempotency keys
// would still make one notification of each; the lease saves the double work.
const leaseName = "dsn"

// work waits for the lease and follows the outcomes as long as it has it.
func (s *service) work(ctx context.Context, leases *bus.Leases, o follow.Options) {
	lease, err := leases.AcquireNamed(ctx, leaseName, s.owner)
	if err != nil {
		if _, held := errors.AsType[*bus.HeldError](err); !held && ctx.Err() == nil {
			s.env.Log.LogAttrs(ctx, slog.LevelWarn, "lease cannot be acquired, trying again", slog.Any("error", err))
		}
		_ = sleep(ctx, s.env.Queue.LeaseTTL.Std()/5)
		return
	}
	owned, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-lease.Lost():
			stop()
		case <-owned.Done():
		}
	}()
	s.env.Log.LogAttrs(ctx, slog.LevelInfo, "making notifications", slog.String("owner", s.owner))
	tenure := s.notifier.Tenure(o.JetStream, o.Cursors, o.Idle)
	o.Handler, o.Beside = tenure, tenure.Beside
	err = follow.New(o).Run(owned)
	tenure.Close()
	stop()
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := lease.Release(releaseCtx); err != nil {
		s.env.Log.LogAttrs(ctx, slog.LevelWarn, "lease not released, it will run out", slog.Any("error", err))
	}
	if ctx.Err() == nil {
		s.env.Log.LogAttrs(ctx, slog.LevelWarn, "notifications are interrupted", slog.Any("error", err))
		_ = sleep(ctx, tryPause)
	}
}
