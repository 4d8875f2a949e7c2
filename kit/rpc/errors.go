// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/postrider/postrider/kit/smtpreply"
)

// Domain is the domain of every ErrorInfo we send.
const Domain = "postrider"

// metadataEnhanced is the ErrorInfo metadata key of the enhanced status code.
const metadataEnhanced = "enhanced"

// Reasons this package gives itself. Those of a service belong to the service.
const (
	ReasonTokenMissing = "TOKEN_MISSING"
	ReasonTokenInvalid = "TOKEN_INVALID"
	ReasonRightMissing = "RIGHT_MISSING"
	ReasonInternal     = "INTERNAL"
	ReasonDeadline     = "DEADLINE_EXCEEDED"
	ReasonCancelled    = "CANCELLED"
	ReasonUnavailable  = "UNAVAILABLE"
)

// Error is an error a caller may see. It crosses gRPC as google.rpc.Status; Err stays behind.
type Error struct {
	// Code is the gRPC code; OK counts as INTERNAL.
	Code codes.Code
	// Reason is the machine-readable reason in capitals, such as MESSAGE_TOO_LARGE (ErrorInfo.reason).
	Reason string
	// Enhanced is the enhanced status code that fits; zero when none does.
	Enhanced smtpreply.EnhancedCode
	// Message is a plain sentence for the caller, without addresses of inner hosts and without texts of other errors.
	Message string
	// Fields are the faults of the request, in order (BadRequest).
	Fields []Field
	// RetryAfter is when to try again at the earliest; 0 says nothing (RetryInfo).
	RetryAfter time.Duration
	// Err is the cause, for our log.
	Err error
}

// Field is a fault of one field of a request.
type Field struct {
	// Field is its path, such as "envelope.recipients[3].address".
	Field string
	// Description is a plain sentence.
	Description string
}

// Error tells code, reason, message and cause on one line, for logs. Callers see Message only.
func (e *Error) Error() string {
	parts := []string{codeWord(e.Code)}
	if e.Reason != "" && e.Reason != parts[0] {
		parts = append(parts, e.Reason)
	}
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	for _, f := range e.Fields {
		parts = append(parts, f.Field+" "+f.Description)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeWord returns the code as it stands in the gRPC specification, such as "INVALID_ARGUMENT".
func (e *Error) CodeWord() string { return codeWord(e.Code) }

func codeWord(c codes.Code) string {
	words := [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	if int(c) >= len(words) {
		return "UNKNOWN"
	}
	return words[c]
}

// GRPCStatus returns the google.rpc.Status a caller gets (G-16).
func (e *Error) GRPCStatus() *status.Status {
	code := e.Code
	if code == codes.OK {
		code = codes.Internal
	}
	info := &errdetails.ErrorInfo{Reason: valid(e.Reason), Domain: Domain}
	if info.Reason == "" {
		info.Reason = codeWord(code)
	}
	if !e.Enhanced.IsZero() {
		info.Metadata = map[string]string{metadataEnhanced: e.Enhanced.String()}
	}
	details := []protoadapt.MessageV1{info}
	if len(e.Fields) > 0 {
		bad := &errdetails.BadRequest{FieldViolations: make([]*errdetails.BadRequest_FieldViolation, len(e.Fields))}
		for i, f := range e.Fields {
			bad.FieldViolations[i] = &errdetails.BadRequest_FieldViolation{Field: valid(f.Field), Description: valid(f.Description)}
		}
		details = append(details, bad)
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	message := valid(e.Message)
	if message == "" {
		message = neutral(code)
	}
	bare := status.New(code, message)
	full, err := bare.WithDetails(details...)
	if err != nil {
		return bare
	}
	return full
}

// valid makes text fit for protobuf, whatever a request held.
func valid(text string) string { return strings.ToValidUTF8(text, "?") }

// neutral is a sentence for a code that tells nothing of the inside.
func neutral(code codes.Code) string {
	switch code {
	case codes.Canceled:
		return "the call was cancelled"
	case codes.DeadlineExceeded:
		return "the deadline of the call passed"
	case codes.Unavailable:
		return "the service is not available now"
	case codes.Unimplemented:
		return "the method is not implemented"
	case codes.ResourceExhausted:
		return "a limit was reached"
	case codes.Unauthenticated:
		return "the caller is not known"
	case codes.PermissionDenied:
		return "the caller has no right to do this"
	case codes.InvalidArgument:
		return "the request is not valid"
	case codes.NotFound:
		return "not found"
	default:
		return "internal error"
	}
}

// FromError returns the error a server of ours sent, on the client's side. An error that did not come from one, such as
// a connection that failed, gives an Error with its code, a neutral message and the original in Err. Context errors keep
// their meaning for errors.Is. Nil gives nil.
func FromError(err error) *Error {
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if e := fromContext(err); e != nil {
		return e
	}
	// The status below any wrapping: status.FromError would put the text of the wrapping into its message.
	answer, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err)
	if !ok {
		return &Error{Code: codes.Unknown, Reason: codeWord(codes.Unknown), Message: neutral(codes.Unknown), Err: err}
	}
	s := answer.GRPCStatus()
	e := &Error{Code: s.Code(), Err: err}
	ours := false
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				ours = true
				e.Reason = d.GetReason()
				e.Enhanced, _, _ = smtpreply.ParseEnhanced(d.GetMetadata()[metadataEnhanced])
			}
		case *errdetails.BadRequest:
			for _, f := range d.GetFieldViolations() {
				e.Fields = append(e.Fields, Field{Field: f.GetField(), Description: f.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	if ours {
		e.Message, e.Err = s.Message(), contextError(s.Code())
		return e
	}
	e.Reason, e.Message = codeWord(s.Code()), neutral(s.Code())
	if ended := contextError(s.Code()); ended != nil {
		e.Err = errors.Join(ended, err)
	}
	return e
}

// contextError returns the error of a context a code stands for, nil for the others. A deadline may be told by the
// server or by our own end of the call, whichever is quicker: both must look the same.
func contextError(code codes.Code) error {
	switch code {
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Canceled:
		return context.Canceled
	default:
		return nil
	}
}

// fromContext maps the errors of a context, nil for others.
func fromContext(err error) *Error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: codes.DeadlineExceeded, Reason: ReasonDeadline, Message: neutral(codes.DeadlineExceeded), Err: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: codes.Canceled, Reason: ReasonCancelled, Message: neutral(codes.Canceled), Err: err}
	}
	return nil
}

// toCaller returns what a caller may see of a handler's error. known is false when the error was none of ours, so that
// it has to be logged.
func toCaller(ctx context.Context, err error) (e *Error, known bool) {
	if own, ok := errors.AsType[*Error](err); ok {
		return own, own.Code != codes.Internal && own.Code != codes.Unknown && own.Code != codes.OK
	}
	if e := fromContext(err); e != nil {
		return e, true
	}
	// The caller went away or its time is over: whatever failed in the handler failed for that.
	if cause := ctx.Err(); cause != nil {
		e := fromContext(cause)
		e.Err = err
		return e, true
	}
	switch s := status.Code(err); s {
	case codes.Unimplemented, codes.Canceled, codes.DeadlineExceeded, codes.ResourceExhausted:
		// What gRPC itself says: a method without handler, a stream's end, a message over the limit.
		return &Error{Code: s, Reason: codeWord(s), Message: neutral(s), Err: err}, true
	}
	return &Error{Code: codes.Internal, Reason: ReasonInternal, Message: neutral(codes.Internal), Err: err}, false
}
