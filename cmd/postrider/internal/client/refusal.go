// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/postrider/postrider/kit/rpc"
)

// refusal is what a failed command prints under --json. Its names are a promise to scripts.
type refusal struct {
	Error refusalBody `json:"error"`
}

type refusalBody struct {
	Code       string         `json:"code"`
	Reason     string         `json:"reason"`
	Enhanced   string         `json:"enhanced"`
	Message    string         `json:"message"`
	Fields     []refusalField `json:"fields"`
	RetryAfter float64        `json:"retry_after_seconds,omitempty"`
}

type refusalField struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// WriteError words the error of a command: for people as one line and one for each field at fault, or as JSON.
func WriteError(w io.Writer, err error, asJSON bool) {
	e, answered := refusalOf(err)
	if asJSON {
		writeJSONError(w, e)
		return
	}
	if !answered {
		fmt.Fprintln(w, "postrider:", err)
		return
	}
	head := e.CodeWord()
	if e.Reason != "" && e.Reason != head {
		head += " " + e.Reason
	}
	if !e.Enhanced.IsZero() {
		head += " " + e.Enhanced.String()
	}
	fmt.Fprintf(w, "postrider: %s: %s\n", head, e.Message)
	for _, f := range e.Fields {
		fmt.Fprintf(w, "  %s: %s\n", f.Field, f.Description)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(w, "  try again in %s\n", e.RetryAfter.Round(time.Second))
	}
}

// refusalOf is the error in the form of a server's answer. answered is false when no server gave it: the error's own
// text is the message then.
func refusalOf(err error) (e *rpc.Error, answered bool) {
	if f, ok := errors.AsType[*Failure](err); ok {
		return &rpc.Error{Code: f.Code, Reason: f.Reason, Enhanced: f.Enhanced, Message: err.Error()}, false
	}
	e = rpc.FromError(err)
	if _, answered = status.FromError(err); !answered && e.Code == codes.Unknown {
		e = &rpc.Error{Code: e.Code, Reason: e.Reason, Message: err.Error()}
	}
	return e, answered
}

func writeJSONError(w io.Writer, e *rpc.Error) {
	body := refusalBody{
		Code: e.CodeWord(), Reason: e.Reason, Message: e.Message, Fields: []refusalField{},
		RetryAfter: e.RetryAfter.Seconds(),
	}
	if !e.Enhanced.IsZero() {
		body.Enhanced = e.Enhanced.String()
	}
	for _, f := range e.Fields {
		body.Fields = append(body.Fields, refusalField{Field: f.Field, Description: f.Description})
	}
	WriteJSON(w, refusal{Error: body})
}

// WriteJSON prints a value with indentation.
func WriteJSON(w io.Writer, v any) {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // the values are our own structs; only the terminal can fail
}
