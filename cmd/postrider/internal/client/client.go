// SPDX-License-Identifier: Apache-2.0

// Package client is the command line's way to a running Postrider: one connection, the token, and the errors it
// answers with in words. It owns no commands.
package client

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/postrider/postrider/kit/rpc"
)

// Options are the flags that every client command takes.
type Options struct {
	Server    string `name:"server" default:"127.0.0.1:9925" env:"POSTRIDER_SERVER" help:"Address of the gRPC server."`
	TokenFile string `name:"token-file" env:"POSTRIDER_TOKEN_FILE" type:"path" help:"File that holds the bearer token."`
	JSON      bool   `name:"json" help:"Print JSON instead of text for people."`
}

const callTimeout = 30 * time.Second

// Dial connects to the server. The connection is made with the first call.
func (o Options) Dial() (*grpc.ClientConn, error) {
	conn, err := rpc.Dial(o.Server, rpc.ClientOptions{TokenFile: o.TokenFile, DefaultTimeout: callTimeout})
	if err == nil {
		return conn, nil
	}
	plain, atFault := rpc.Dial(o.Server, rpc.ClientOptions{})
	if atFault != nil {
		return nil, Invalid(reasonServer, err)
	}
	_ = plain.Close() // it has not called anybody
	return nil, Invalid(reasonTokenFile, err)
}

// Call dials, lets fn use the connection, and closes it. A server that cannot be reached is a *Failure.
func (o Options) Call(ctx context.Context, fn func(context.Context, *grpc.ClientConn) error) error {
	conn, err := o.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return o.reached(conn, fn(ctx, conn))
}
