// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoMore says that a subject has no message at or above a sequence.
var ErrNoMore = errors.New("no further message")

// ReadNext reads the first message of a subject, which may have wildcards, at or above a sequence. That there is none is
// the leader's word, so a message whose publish was answered is always seen. It is for what is read one by one as it comes due: nothing is sent ahead, and
// nothing is kept on the server in between. The error wraps ErrNoMore when there is none yet.
func ReadNext(ctx context.Context, js jetstream.JetStream, stream, subject string, from uint64) (Delivery, error) {
	m, err := directGet(ctx, js, stream, getRequest{Seq: max(from, 1), NextFor: subject})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Delivery{}, fmt.Errorf("subject %s from %d: %w", subject, from, ErrNoMore)
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("next of %s from %d: %w", subject, from, err)
	}
	return m.delivery(stream), nil
}
