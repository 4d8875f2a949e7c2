// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/config"
)

// serverItself stands in a MismatchError for the server as a whole.
const serverItself = "(server)"

// roomTries is how often a stream is asked for that the server says it has no room for: about a second in all.
const roomTries = 7

// createStream makes a stream, or finds the one another process makes at the same time. The server counts what is being
// made as taken, so that the second of two equal requests can be answered with "no room" although the stream is there, or
// will be at once. Only when it still is not after all tries the room is really missing.
func createStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, maxStore int64) (jetstream.Stream, error) {
	pause := firstPause
	for try := 1; ; try++ {
		s, err := js.CreateStream(ctx, want)
		full := noRoom(err)
		if !full && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return s, err
		}
		s, err = js.Stream(ctx, want.Name)
		if !full || !errors.Is(err, jetstream.ErrStreamNotFound) {
			return s, err
		}
		if try == roomTries {
			return nil, storeTooSmall(ctx, js, want, maxStore)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// noRoom reports the server's answer to a stream that reserves more than is left.
func noRoom(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeStorageExceeded
}

// storeTooSmall says what to do about a stream the server has no room for. Only a limit of the account can be asked for,
// the server's own is known to nobody but the server.
func storeTooSmall(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, maxStore int64) error {
	e := &MismatchError{Stream: serverItself, Field: "max_file_store", Want: config.Size(maxStore).String()}
	allowed := ""
	if info, err := js.AccountInfo(ctx); err == nil && info.Limits.MaxStore >= 0 {
		e.Have = config.Size(info.Limits.MaxStore).String()
		allowed = fmt.Sprintf(" (%s)", e.Have)
	}
	e.Advice = fmt.Sprintf("nats.max_store (%s) is more than the server allows%s", e.Want, allowed)
	if want.MaxBytes > 0 {
		e.Advice += fmt.Sprintf(": there is no room for the %s of stream %s", config.Size(want.MaxBytes), want.Name)
	}
	e.Advice += "; lower nats.max_store, or raise the server's max_file_store (see deploy/nats/nats.conf)"
	return e
}

// payloadTooSmall says what to do about a server that takes small messages only, as one without a file of its own does.
func payloadTooSmall(have int64) error {
	return &MismatchError{
		Stream: serverItself, Field: "max_payload",
		Have: strconv.FormatInt(have, 10), Want: "at least " + strconv.Itoa(MaxPayload),
		Advice: fmt.Sprintf("the NATS server takes messages of %d bytes at most; set max_payload to 8MB (see deploy/nats/nats.conf)", have),
	}
}
