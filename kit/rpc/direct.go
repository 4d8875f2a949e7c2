// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// unaryMethod is a method of a registered service.
type unaryMethod struct {
	impl    any
	handler grpc.MethodHandler
}

// direct is the way past the transport for unary calls over a pipe: frames, header compression and scheduling of a call
// inside one process cost ten times what the call itself does, and every delivery asks for its route.
type direct struct {
	server  *Server
	methods map[string]unaryMethod
}

// open lets unary calls over the pipe past the transport, until shut.
func (p *Pipe) open(s *Server) { p.direct.Store(&direct{server: s, methods: s.methods}) }

func (p *Pipe) shut() { p.direct.Store(nil) }

// interceptor calls the server's method where it can. A caller's rights, panics and errors are treated as on a socket;
// neither side holds a message of the other. Call options have no effect, and the call ends when the method returns, also
// past its deadline. Before the server serves and when it stops, calls take the transport, which knows what to answer.
func (p *Pipe) interceptor(token string) grpc.UnaryClientInterceptor {
	caller, known := p.tokens().lookup(token)
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		d := p.direct.Load()
		if d == nil || !known {
			return invoke(ctx, method, request, reply, cc, opts...)
		}
		m, found := d.methods[method]
		in, isProto := request.(proto.Message)
		out, takesProto := reply.(proto.Message)
		if !found || !isProto || !takesProto {
			return invoke(ctx, method, request, reply, cc, opts...)
		}
		if err := authorize(caller, d.server.rightOf(method)); err != nil {
			return status.Convert(err).Err()
		}
		return d.call(WithCaller(ctx, caller), m, in, out)
	}
}

func (d *direct) call(ctx context.Context, m unaryMethod, in, out proto.Message) error {
	decode := func(v any) error {
		proto.Merge(v.(proto.Message), in)
		return nil
	}
	answer, err := m.handler(m.impl, ctx, decode, d.server.unary)
	if err != nil {
		return status.Convert(err).Err()
	}
	proto.Merge(out, answer.(proto.Message))
	return nil
}

// register notes the unary methods of a service.
func (s *Server) register(desc *grpc.ServiceDesc, impl any) {
	for _, m := range desc.Methods {
		s.methods["/"+desc.ServiceName+"/"+m.MethodName] = unaryMethod{impl, m.Handler}
	}
}
