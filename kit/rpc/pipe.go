// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"
)

// pipeBuffer is what a direction of an in-memory connection holds in bytes.
const pipeBuffer = 1 << 20

// Pipe is a listener without a socket: services of one process call each other over it. A caller is known by a random
// token that Issue made and that never leaves the process; the tokens of the server's file do not count on it, and its
// own do not count on sockets.
type Pipe struct {
	listener *bufconn.Listener
	direct   atomic.Pointer[direct] // set while the server serves
	mu       sync.Mutex
	issued   *Tokens
}

// NewPipe returns a pipe; it is closed by the server that serves it, or by Close.
func NewPipe() *Pipe {
	return &Pipe{listener: bufconn.Listen(pipeBuffer), issued: &Tokens{}}
}

// Issue makes a token for a caller of this pipe, for ClientOptions.Token.
func (p *Pipe) Issue(name string, rights ...Right) string {
	token := rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := tokenEntry{hash: sha256.Sum256([]byte(token)), caller: Caller{Name: name, Rights: slices.Clone(rights)}}
	p.issued = &Tokens{entries: append(slices.Clone(p.issued.entries), entry)}
	return token
}

func (p *Pipe) tokens() *Tokens {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issued
}

// Accept waits for a caller (net.Listener).
func (p *Pipe) Accept() (net.Conn, error) {
	conn, err := p.listener.Accept()
	if err != nil {
		return nil, err
	}
	return &pipeConn{Conn: conn, pipe: p}, nil
}

// Close ends Accept (net.Listener).
func (p *Pipe) Close() error {
	err := p.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Addr names the pipe (net.Listener).
func (p *Pipe) Addr() net.Addr { return pipeAddr{} }

func (p *Pipe) dial(ctx context.Context) (net.Conn, error) {
	conn, err := p.listener.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return &pipeConn{Conn: conn, pipe: p}, nil
}

// pipeAddr is both ends of a connection over a pipe. Its text is server.address in spans and metrics of calls.
type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "in-process" }

// pipeConn is an end of a connection over a pipe.
type pipeConn struct {
	net.Conn
	pipe *Pipe
}

// LocalAddr names the pipe (net.Conn).
func (*pipeConn) LocalAddr() net.Addr { return pipeAddr{} }

// RemoteAddr names the pipe (net.Conn).
func (*pipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

// pipeAuth tells a handler that the call came over a pipe.
type pipeAuth struct {
	credentials.CommonAuthInfo
	pipe *Pipe
}

// AuthType names the kind (credentials.AuthInfo).
func (pipeAuth) AuthType() string { return "pipe" }

// pipeCredentials hands connections over a pipe through and all others to the credentials it embeds.
type pipeCredentials struct {
	credentials.TransportCredentials
}

// ServerHandshake recognises a pipe (credentials.TransportCredentials).
func (c pipeCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if inner, ok := conn.(*pipeConn); ok {
		common := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
		return conn, pipeAuth{CommonAuthInfo: common, pipe: inner.pipe}, nil
	}
	return c.TransportCredentials.ServerHandshake(conn)
}

// Clone copies the credentials (credentials.TransportCredentials).
func (c pipeCredentials) Clone() credentials.TransportCredentials {
	return pipeCredentials{c.TransportCredentials.Clone()}
}
