// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync/atomic"
)

// reader takes replies off one layer of a connection (TCP, then TLS) in a goroutine of its own.
type reader struct {
	br       *bufio.Reader
	box      *mailbox
	maxLines atomic.Int32 // of the next reply
	done     chan struct{}

	parser replyParser
	batch  []rawReply
}

// startReader begins to read replies from src into box. It ends by itself when reading fails, when input is out of
// place, and behind a 220 to STARTTLS; then done is closed.
func startReader(src io.Reader, box *mailbox) *reader {
	r := &reader{br: bufio.NewReaderSize(src, maxReplyLine), box: box, done: make(chan struct{})}
	r.maxLines.Store(maxReplyLines)
	go r.run()
	return r
}

func (r *reader) run() {
	defer close(r.done)
	for {
		if r.br.Buffered() == 0 {
			if _, err := r.br.Peek(1); err == nil {
				r.box.begun()
			}
		}
		line, err := r.br.ReadSlice('\n')
		if err != nil {
			r.box.fail(r.fault(err))
			return
		}
		done, err := r.parser.line(line, int(r.maxLines.Load()))
		if done {
			r.batch = append(r.batch, r.parser.take())
		}
		if err == nil && r.lineBuffered() {
			continue
		}
		if !r.deliver(err == nil && (r.parser.begun() || r.br.Buffered() > 0)) {
			return
		}
		if err != nil {
			r.box.fail(err)
			return
		}
	}
}

// deliver hands over what is complete. Replies that arrived in one piece are handed over together, so that a surplus
// one is known before the next command goes out.
func (r *reader) deliver(partial bool) (goOn bool) {
	if len(r.batch) == 0 && !partial {
		return true
	}
	goOn = r.box.put(r.batch, partial)
	clear(r.batch)
	r.batch = r.batch[:0]
	return goOn
}

// lineBuffered reports that the next line can be read without waiting.
func (r *reader) lineBuffered() bool {
	rest, _ := r.br.Peek(r.br.Buffered())
	return bytes.IndexByte(rest, '\n') >= 0
}

func (r *reader) fault(err error) error {
	if errors.Is(err, bufio.ErrBufferFull) {
		return &protocolError{"reply line over 4,096 octets"}
	}
	return err
}
