// SPDX-License-Identifier: Apache-2.0

package mailservice

import (
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
)

// Reasons of calls that are not in order.
const (
	// ReasonNotFound is a message that is not known, or another caller's.
	ReasonNotFound = "MESSAGE_NOT_FOUND"
	// ReasonStream is a stream whose parts come in the wrong order, or too slowly.
	ReasonStream = "INVALID_STREAM"
	// ReasonRefusals is a store of refused messages that cannot be read.
	ReasonRefusals = "REFUSALS_UNAVAILABLE"
	// ReasonStopping is a gateway that is shutting down.
	ReasonStopping = "STOPPING"
)

// NotFound is the answer for a message that is not known.
func NotFound() *rpc.Error {
	return &rpc.Error{Code: codes.NotFound, Reason: ReasonNotFound, Message: "no such message"}
}

// refusalsAway is the answer when it cannot be found out whether a message was refused.
func refusalsAway(err error) *rpc.Error {
	return &rpc.Error{
		Code: codes.Unavailable, Reason: ReasonRefusals, Message: "the refused messages cannot be read now",
		RetryAfter: time.Second, Err: err,
	}
}

// badStream is the answer for a stream that is not in order.
func badStream(field, description string) *rpc.Error {
	return &rpc.Error{
		Code: codes.InvalidArgument, Reason: ReasonStream, Enhanced: smtpreply.Code(5, 5, 1),
		Message: "the stream is not in order", Fields: []rpc.Field{{Field: field, Description: description}},
	}
}

// slowStream is the answer when no piece came in time.
func slowStream() *rpc.Error {
	return &rpc.Error{
		Code: codes.DeadlineExceeded, Reason: ReasonStream, Enhanced: smtpreply.Code(4, 4, 2),
		Message: "no piece of the message came for too long",
	}
}

// stopping is the answer when the gateway shuts down.
func stopping() *rpc.Error {
	return &rpc.Error{
		Code: codes.Unavailable, Reason: ReasonStopping, Enhanced: smtpreply.Code(4, 3, 2),
		Message: "the gateway is shutting down",
	}
}

func bytesText(n int64) string { return strconv.FormatInt(n, 10) + " bytes" }
