// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of an Appender that carry nothing further.
var (
	// ErrClosed says that the appender was closed before it took the records.
	ErrClosed = errors.New("appender is closed")
	// ErrNoRoom says that Enqueue would pass MaxWaitingBytes. The records were not taken.
	ErrNoRoom = errors.New("too much waits to be appended")
)

// FullError reports that the server has no room: the stream's limit, the account's or the server's. Nothing was
// stored. The RPC status is RESOURCE_EXHAUSTED.
type FullError struct {
	Subject string
	Err     error // the server's answer
}

func (e *FullError) Error() string { return fmt.Sprintf("append to %s: no room: %v", e.Subject, e.Err) }
func (e *FullError) Unwrap() error { return e.Err }

// UnavailableError reports that no answer came in the time allowed. The RPC status is UNAVAILABLE.
type UnavailableError struct {
	Subject string
	// MaybeStored is true when a publish was sent whose answer was lost: the records may lie in the stream.
	MaybeStored bool
	Err         error // of the last try
}

func (e *UnavailableError) Error() string {
	stored := "nothing was stored"
	if e.MaybeStored {
		stored = "it may be stored"
	}
	return fmt.Sprintf("append to %s: no answer, %s: %v", e.Subject, stored, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// FencedError reports that another owner has appended to the subject and that this one has no confirmed lease
// any more. The appender takes nothing from then on.
type FencedError struct {
	Subject string
	Err     error
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("append to %s: taken over by another owner: %v", e.Subject, e.Err)
}

func (e *FencedError) Unwrap() error { return e.Err }

// TooLargeError reports a group of records that no segment can hold, or a message the server refuses as too
// large.
type TooLargeError struct {
	Subject    string
	Size, Most int   // bytes
	Err        error // the server's answer, nil when it was not asked
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("append to %s: %d bytes, at most %d", e.Subject, e.Size, e.Most)
}

func (e *TooLargeError) Unwrap() error { return e.Err }

// RejectedError reports an answer of the server that none of the other types stands for. Nothing was stored.
type RejectedError struct {
	Subject string
	Err     error
}

func (e *RejectedError) Error() string { return fmt.Sprintf("append to %s: %v", e.Subject, e.Err) }
func (e *RejectedError) Unwrap() error { return e.Err }

// verdict is what a failed try to publish means.
type verdict int

const (
	noAnswer    verdict = iota // the answer was lost: it may be stored
	notReached                 // the server did not get it, or said to come again: not stored by this try
	refused                    // by the expected sequence
	full                       // no room
	tooLarge                   // never fits
	notAccepted                // any other answer of the server
)

// Answers of nats-server 2.15 that the jetstream package has no constant for, or a differently named one.
const (
	codeMemoryExceeded  jetstream.ErrorCode = 10028
	codeStorageExceeded jetstream.ErrorCode = 10047
	codeInsufficient    jetstream.ErrorCode = 10023
	codeStoreFailed     jetstream.ErrorCode = 10077 // "maximum bytes exceeded"
	codeMessageTooLarge jetstream.ErrorCode = 10054
	codeHeaderTooLarge  jetstream.ErrorCode = 10097
	codeWrongLastSeq    jetstream.ErrorCode = 10071
	codeInProcess       jetstream.ErrorCode = 10164 // another publish to the subject is on its way (replicated streams)
	codeDuplicateBusy   jetstream.ErrorCode = 10158 // the same id is on its way
	codeClusterAway     jetstream.ErrorCode = 10008
	codeNoLeader        jetstream.ErrorCode = 10009
)

func classify(err error) verdict {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeWrongLastSeq:
			return refused
		case codeStoreFailed, codeStorageExceeded, codeInsufficient, codeMemoryExceeded:
			return full
		case codeMessageTooLarge, codeHeaderTooLarge:
			return tooLarge
		case codeInProcess, codeDuplicateBusy:
			return notReached
		}
		if api.Code >= 500 {
			return notReached
		}
		return notAccepted
	}
	for _, e := range []error{
		nats.ErrNoResponders, jetstream.ErrNoStreamResponse, nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed,
		nats.ErrDisconnected, nats.ErrConnectionDraining,
	} {
		if errors.Is(err, e) {
			return notReached
		}
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return tooLarge
	}
	return noAnswer
}
