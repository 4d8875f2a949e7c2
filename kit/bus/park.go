// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// DeleteParked deletes one segment of PARK whose records were all copied on. One that is gone already is no error.
func DeleteParked(ctx context.Context, js jetstream.JetStream, sequence uint64) error {
	s, err := js.Stream(ctx, StreamPark)
	if err == nil {
		err = s.DeleteMsg(ctx, sequence)
	}
	if err != nil && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("delete segment %d of %s: %w", sequence, StreamPark, err)
	}
	if err == nil {
		return nil
	}
	// The server does not tell a message that is gone from one it cannot delete.
	if _, err := ReadSegment(ctx, js, StreamPark, sequence); !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("delete segment %d of %s: it is still there: %w", sequence, StreamPark, err)
	}
	return nil
}

// LastOfSubject returns the last sequence on a subject of a stream, which may have wildcards, as the leader has it; 0 when
// there is nothing.
func LastOfSubject(ctx context.Context, js jetstream.JetStream, stream, subject string) (uint64, error) {
	return lastOfSubject(ctx, js, stream, subject)
}
