// SPDX-License-Identifier: Apache-2.0

package submit

import (
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/services/gateway/internal/content"
)

// asRPC returns the answer for an error of any step.
func asRPC(err error) *rpc.Error {
	if own, ok := errors.AsType[*rpc.Error](err); ok {
		return own
	}
	if fault, ok := errors.AsType[*content.Fault](err); ok {
		return &rpc.Error{
			Code: codes.InvalidArgument, Reason: fault.Reason, Enhanced: fault.Enhanced, Message: "the content is not valid",
			Fields: []rpc.Field{{Field: "content", Description: fault.Error()}},
		}
	}
	e := rpc.FromError(err)
	if e.Code == codes.Unknown {
		e.Code, e.Reason = codes.Internal, rpc.ReasonInternal
	}
	return e
}
