// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// tidyEvery is how often it is looked whether held messages are final.
const tidyEvery = time.Minute

// Run removes, until ctx ends, holds of messages all of which are final: only the status view knows that. All other
// changes are removed by the senders.
func (d *Desk) Run(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := d.Tidy(ctx); err != nil && ctx.Err() == nil {
			d.Log.LogAttrs(ctx, slog.LevelWarn, "holds of final messages not removed", slog.String("error", err.Error()))
		}
	}
}

// Tidy removes holds of messages that are final.
func (d *Desk) Tidy(ctx context.Context) error {
	for _, e := range d.Mirror.List() {
		if e.GetAction() != eventv1.ChangeAction_CHANGE_ACTION_HOLD || len(e.GetMessageIds()) == 0 {
			continue
		}
		final, err := d.final(ctx, e.GetMessageIds())
		if err != nil {
			return err
		}
		if final {
			if err := d.Store.Remove(ctx, e.GetId(), d.Partitions); err != nil {
				return err
			}
		}
	}
	return nil
}

// final reports whether all messages are final, or forgotten since they were.
func (d *Desk) final(ctx context.Context, ids []string) (bool, error) {
	for _, id := range ids {
		m, _, err := d.View.Message(ctx, id)
		if known, ok := errors.AsType[*rpc.Error](err); ok && known.Code == codes.NotFound {
			continue
		}
		if err != nil {
			return false, err
		}
		if m.GetState() != gatewayv1.MessageState_MESSAGE_STATE_DONE {
			return false, nil
		}
	}
	return true, nil
}
