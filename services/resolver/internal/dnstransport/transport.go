// SPDX-License-Identifier: Apache-2.0

package dnstransport

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnswire"
)

// Transport is the way a query goes. Its values are those of network.transport.
type Transport string

// The transports.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
)

// Other returns the one that is left when t fails.
func (t Transport) Other() Transport {
	if t == UDP {
		return TCP
	}
	return UDP
}

// Error is a query without an answer that can be read.
type Error struct {
	// Result is refused, reset, unreachable, timeout, malformed or cancelled.
	Result dnsquery.Result
	// Err is the cause.
	Err error
}

// Error tells word and cause.
func (e *Error) Error() string { return string(e.Result) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Ask sends q with a new random id to a server and returns the message that answers it. Messages that do not belong to
// the query are passed over. ctx must have a deadline; connect bounds the TCP handshake within it. The error is
// an *Error.
func Ask(ctx context.Context, t Transport, server netip.AddrPort, q dnswire.Query, connect time.Duration) (*dnswire.Message, error) {
	q.ID = uint16(rand.Uint32())
	wire, err := q.Pack()
	if err != nil {
		return nil, &Error{Result: dnsquery.ResultMalformed, Err: err}
	}
	dialer := net.Dialer{Timeout: connect}
	conn, err := dialer.DialContext(ctx, string(t), server.String())
	if err != nil {
		return nil, failure(ctx, err, nil)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if t == TCP {
		return overTCP(ctx, conn, wire, q)
	}
	return overUDP(ctx, conn, wire, q)
}

// overUDP uses a connected socket: the kernel drops datagrams from any other address (RFC 5452, section 9.2).
func overUDP(ctx context.Context, conn net.Conn, wire []byte, q dnswire.Query) (*dnswire.Message, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, failure(ctx, err, nil)
	}
	buf := make([]byte, 4*dnswire.UDPSize)
	var foreign error
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, failure(ctx, err, foreign)
		}
		message, err := dnswire.Read(buf[:n], q)
		if errors.Is(err, dnswire.ErrForeign) {
			foreign = err
			continue
		}
		if err != nil {
			return nil, &Error{Result: dnsquery.ResultMalformed, Err: err}
		}
		return message, nil
	}
}

// overTCP sends the message behind its length in one segment (RFC 7766, section 8).
func overTCP(ctx context.Context, conn net.Conn, wire []byte, q dnswire.Query) (*dnswire.Message, error) {
	framed := make([]byte, 0, 2+len(wire))
	framed = append(framed, byte(len(wire)>>8), byte(len(wire)))
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, failure(ctx, err, nil)
	}
	var foreign error
	for {
		answer, err := readFramed(conn)
		if err != nil {
			return nil, failure(ctx, err, foreign)
		}
		message, err := dnswire.Read(answer, q)
		if errors.Is(err, dnswire.ErrForeign) {
			foreign = err
			continue
		}
		if err != nil {
			return nil, &Error{Result: dnsquery.ResultMalformed, Err: err}
		}
		return message, nil
	}
}

func readFramed(conn net.Conn) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, int(length[0])<<8|int(length[1]))
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

// failure names what an error of the socket means. A server that sent only what is no answer is malformed, not silent.
func failure(ctx context.Context, err, foreign error) *Error {
	result := dnsquery.ResultReset // closed or reset before the answer
	var netErr net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Result: dnsquery.ResultCancelled, Err: context.Cause(ctx)}
	case foreign != nil:
		return &Error{Result: dnsquery.ResultMalformed, Err: foreign}
	case errors.Is(err, syscall.ECONNREFUSED):
		result = dnsquery.ResultRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		result = dnsquery.ResultUnreachable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		result = dnsquery.ResultTimeout
	}
	return &Error{Result: result, Err: err}
}
