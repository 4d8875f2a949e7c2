// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/postrider/postrider/kit/smtpreply"
)

// readBuffer is how much of a file is read at a time where sendfile does not serve.
const readBuffer = 32 << 10

// content sends the content and the final dot and awaits the reply. From the first octet to the dot any reply, end of
// file or reset ends the sending (S-57 to S-60).
func (t *transaction) content(ctx context.Context) *smtpreply.Error {
	c := t.c
	c.stage = smtpreply.StageContent
	if _, err := t.m.Body.Seek(0, io.SeekStart); err != nil {
		return t.abortLocal(fmt.Errorf("rewind the content: %w", err))
	}
	before := c.Written()
	defer func() { t.result.ContentWritten += c.Written() - before }()
	c.wire.limit(c.o.Timeouts.DataProgress.Std(), time.Now().Add(c.o.Timeouts.content(t.size)))
	if !c.box.startContent() {
		return t.abort(ctx, errInterrupted)
	}
	if fail := t.sendBody(ctx); fail != nil {
		return fail
	}
	riding := t.board()
	defer func() { t.result.ContentWritten -= int64(len(riding)) }()
	if err := t.finalDot(before, riding); err != nil {
		return t.abort(ctx, err)
	}
	t.dataSpan.end(354, nil, attribute.Int64("smtp.data.bytes", c.Written()-before))
	return t.dot(ctx)
}

// finalDot writes the final dot and the commands that ride behind it. What comes before all of the dot is written is no
// answer to it (S-58). before is what was written before the content.
//
// A small message goes out with its dot in one write, as nothing else is under way. In all other cases the dot goes
// without content, so that a reply that comes while the content is held up is not taken for the answer to the dot.
func (t *transaction) finalDot(before int64, riding []byte) error {
	const dot = ".\r\n"
	c := t.c
	_, tcp := c.wire.Conn.(*net.TCPConn)
	if whole := tcp && c.Written() == before; !whole || c.out.Available() < len(dot)+len(riding) {
		if err := c.out.Flush(); err != nil {
			return err
		}
	}
	if !c.box.expectDot(t.c.ride.replies()) || c.wire.inputWaiting() {
		return errInterrupted
	}
	if _, err := c.out.WriteString(dot); err != nil {
		return err
	}
	c.wire.dotEnd = c.Written() + int64(c.out.Buffered())
	if c.secured != nil {
		c.wire.dotEnd = math.MaxInt64 // a record is of no use to the host before it has all of it
	}
	if _, err := c.out.Write(riding); err != nil {
		return err
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	c.box.dotSent()
	c.wire.answered.Store(false)
	return nil
}

// sendBody writes the content, dot-stuffed and with its final CRLF, into the buffer and on to the wire.
func (t *transaction) sendBody(ctx context.Context) *smtpreply.Error {
	c := t.c
	file, isFile := t.m.Body.(*os.File)
	if isFile && t.m.NoDotLines && c.secured == nil && t.m.Size > outBuffer {
		err := c.wire.sendFile(file, t.m.Size)
		if err == nil && t.addCRLF {
			_, err = c.out.WriteString("\r\n")
		}
		return t.sent(ctx, err)
	}
	w := contentWriter{out: c.out, left: t.m.Size, lineStart: true}
	err := w.copy(t.m.Body)
	if err == nil {
		err = w.finish()
	}
	return t.sent(ctx, err)
}

// sent tells faults of the content from those of the connection.
func (t *transaction) sent(ctx context.Context, err error) *smtpreply.Error {
	var bad *ContentError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		return t.abortLocal(err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return t.abortLocal(&ContentError{"the content is shorter than its size", err})
	default:
		return t.abort(ctx, err)
	}
}

// abortLocal ends a content that cannot be sent whole: no dot, no QUIT, a reset.
func (t *transaction) abortLocal(err error) *smtpreply.Error {
	t.c.abort()
	return t.bodyFailure(err)
}

// abort ends the sending with a reset, so that socket, kernel buffers and goroutine are free at once. A reply that has
// come, or comes within a second, counts more than the fault (S-57, S-60).
func (t *transaction) abort(ctx context.Context, cause error) *smtpreply.Error {
	c := t.c
	fail := c.lastWord(ctx, cause)
	c.log.note("content given up")
	c.abort()
	return fail
}

// lastWord is what ended the content: the first complete reply, else the fault of the connection, else cause.
func (c *Conn) lastWord(ctx context.Context, cause error) *smtpreply.Error {
	c.timer.Reset(lastWords)
	defer c.timer.Stop()
	for {
		reply, surplus, fault := c.box.next()
		if reply.code == 0 {
			reply = surplus
		}
		switch {
		case reply.code != 0:
			c.log.reply(reply)
			return c.refused(smtpreply.StageContent, reply)
		case ctx.Err() != nil:
			return c.fail(smtpreply.StageContent, context.Cause(ctx))
		case fault != nil:
			return c.fail(smtpreply.StageContent, firstFault(cause, fault))
		}
		select {
		case <-c.box.wake:
		case <-ctx.Done():
		case <-c.timer.C:
			return c.fail(smtpreply.StageContent, firstFault(cause, &protocolError{"input while the content was sent"}))
		}
	}
}

// firstFault prefers what the writer found, unless it was only told to stop.
func firstFault(cause, fault error) error {
	if errors.Is(cause, errInterrupted) {
		return fault
	}
	return cause
}

// bodyTail gives the last two octets of the content and checks that it is as long as it should be.
func bodyTail(m *Message) (string, error) {
	end, err := m.Body.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("find the end of the content: %w", err)
	}
	if end != m.Size {
		return "", &ContentError{fmt.Sprintf("the content has %d octets and should have %d", end, m.Size), nil}
	}
	n := min(m.Size, int64(len("\r\n")))
	if _, err := m.Body.Seek(-n, io.SeekEnd); err != nil {
		return "", fmt.Errorf("find the end of the content: %w", err)
	}
	var tail [2]byte
	if _, err := io.ReadFull(m.Body, tail[:n]); err != nil {
		return "", fmt.Errorf("read the end of the content: %w", err)
	}
	return string(tail[:n]), nil
}
