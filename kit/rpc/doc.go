// SPDX-License-Identifier: Apache-2.0

// Package rpc builds every gRPC server and client of the suite, so that errors, authentication, health, reflection,
// traces, limits and deadlines are the same everywhere.
//
// A handler returns *Error; it becomes a google.rpc.Status with ErrorInfo, BadRequest and RetryInfo, and FromError gives
// the same value back on the client's side. Anything else a handler returns is logged and answered INTERNAL without its
// text. Callers are known by bearer tokens with rights (LoadTokens); a server without tokens listens on loopback only
// (CheckListen). Pipe joins services of one process without a socket. The package knows no service.
package rpc
