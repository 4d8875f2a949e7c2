// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/postrider/postrider/kit/rpc"
	"github.com/postrider/postrider/kit/smtpreply"
)

// Failure is what went wrong on this side of the call: nothing was asked of the server, or it could not be reached. Its
// text is that of Err.
type Failure struct {
	// Code is the gRPC code a script finds under --json.
	Code codes.Code
	// Reason is the machine-readable reason in capitals.
	Reason string
	// Enhanced is the enhanced status code a server would have given; zero when none fits.
	Enhanced smtpreply.EnhancedCode
	// Err is what happened.
	Err error
}

// Reasons of failures on this side.
const (
	reasonTokenFile   = "TOKEN_FILE"
	reasonServer      = "INVALID_SERVER"
	reasonUnreachable = "SERVER_UNREACHABLE"
	reasonBroken      = "CONNECTION_BROKEN"
)

// Invalid is a Failure for input that is at fault.
func Invalid(reason string, err error) *Failure {
	return &Failure{Code: codes.InvalidArgument, Reason: reason, Err: err}
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns what happened.
func (f *Failure) Unwrap() error { return f.Err }

// reached gives an error of a call that no server answered a text that says so. Answers of a server stay as they are.
func (o Options) reached(conn *grpc.ClientConn, err error) error {
	e := rpc.FromError(err)
	if e == nil || e.Err == nil || (e.Code != codes.Unavailable && e.Code != codes.DeadlineExceeded) {
		return err
	}
	switch state := conn.GetState(); {
	case state == connectivity.TransientFailure, state == connectivity.Connecting:
		return &Failure{
			Code: codes.Unavailable, Reason: reasonUnreachable,
			Err: fmt.Errorf("cannot reach %s%s (is postrider serve running? --server names another address)", o.Server, because(e.Err)),
		}
	case e.Code == codes.Unavailable:
		return &Failure{Code: codes.Unavailable, Reason: reasonBroken, Err: fmt.Errorf("the connection to %s broke", o.Server)}
	default:
		return err
	}
}

// because is the operating system's word for a connection that failed, out of gRPC's text; empty when there is none.
func because(err error) string {
	_, text, found := strings.Cut(err.Error(), "Error while dialing: ") //nolint:misspell // gRPC spells it so
	if !found {
		return ""
	}
	text, _, _ = strings.Cut(text, `"`)
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return ": " + text
}
