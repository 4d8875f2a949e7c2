// SPDX-License-Identifier: Apache-2.0

package smtpclient

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errInterrupted is a write that was ended because input arrived or the caller gave up.
var errInterrupted = errors.New("write interrupted")

// errNoProgress is a write of which nothing was taken for the time allowed (S-07).
var errNoProgress = errors.New("no write progress")

// sendfileChunk is how much of a file goes out between two looks at the clock.
const sendfileChunk = 1 << 20

// wire is the connection itself, below TLS. It gives every write a time limit for progress and one overall, and lets
// another goroutine end a write that blocks. A write that meets its limit goes on as long as the peer takes something;
// crypto/tls above cannot, so that is done here.
type wire struct {
	net.Conn

	written     atomic.Int64
	interrupted atomic.Bool
	answered    atomic.Bool // a reply came while the final dot is on its way
	dotEnd      int64       // what is written when the final dot is; of the writing goroutine

	mu       sync.Mutex
	progress time.Duration // 0: only overall counts
	overall  time.Time
}

// limit sets the times of the writes from now on.
func (w *wire) limit(progress time.Duration, overall time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress, w.overall = progress, overall
}

// interrupt ends a write that blocks, and all later ones.
func (w *wire) interrupt() {
	w.interrupted.Store(true)
	_ = w.SetWriteDeadline(time.Unix(1, 0))
}

// withdraw ends the write of the final dot if it is not complete (S-58).
func (w *wire) withdraw() {
	w.answered.Store(true)
	_ = w.SetWriteDeadline(time.Unix(1, 0))
}

// stopped reports that a write has to end. A reply to a dot that is out does not hold up what rides behind the dot.
func (w *wire) stopped() bool {
	return w.interrupted.Load() || w.answered.Load() && w.written.Load() < w.dotEnd
}

// Write writes all of p, or returns why it could not: errInterrupted, errNoProgress, os.ErrDeadlineExceeded for the
// overall time, or the error of the connection.
func (w *wire) Write(p []byte) (int, error) {
	return w.push(int64(len(p)), func(done int64) (int64, error) {
		n, err := w.Conn.Write(p[done:])
		return int64(n), err
	})
}

// sendFile writes the next n octets of f, by sendfile where the kernel has it. The file's offset moves on by what was
// written.
func (w *wire) sendFile(f *os.File, n int64) error {
	to, ok := w.Conn.(io.ReaderFrom)
	if !ok {
		_, err := io.CopyN(w, f, n)
		return err
	}
	_, err := w.push(n, func(done int64) (int64, error) {
		part, err := to.ReadFrom(&io.LimitedReader{R: f, N: min(n-done, sendfileChunk)})
		if part == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		return part, err
	})
	return err
}

// push calls some, which writes a part and tells how much, until size octets are written.
func (w *wire) push(size int64, some func(done int64) (int64, error)) (int, error) {
	var done int64
	last := time.Now() // of the last progress
	for {
		progress, overall, err := w.arm(last)
		if err != nil {
			return int(done), err
		}
		// Looked at after the deadline is set, the flags cannot be missed: they are set before their own deadline.
		if w.stopped() {
			return int(done), errInterrupted
		}
		n, err := some(done)
		done += n
		w.written.Add(n)
		if done == size && err == nil {
			return int(done), nil
		}
		now := time.Now()
		if n > 0 {
			last = now
		}
		switch {
		case w.stopped():
			return int(done), errInterrupted
		case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		default:
			return int(done), err
		}
		if !overall.IsZero() && !now.Before(overall) {
			return int(done), os.ErrDeadlineExceeded
		}
		if progress > 0 && now.Sub(last) >= progress {
			return int(done), errNoProgress
		}
	}
}

// arm sets the deadline of the next part of a write; last is when the peer last took something.
func (w *wire) arm(last time.Time) (progress time.Duration, overall time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	look := nextLook(time.Now(), last, w.progress, w.overall)
	return w.progress, w.overall, w.SetWriteDeadline(look)
}

// nextLook is when a write is interrupted to see whether the peer took anything: often enough that a stall is noticed a
// quarter late at most.
func nextLook(now, last time.Time, progress time.Duration, overall time.Time) time.Time {
	if progress <= 0 {
		return overall
	}
	look := now.Add(progress / 4)
	if end := last.Add(progress); end.Before(look) {
		look = end
	}
	if !overall.IsZero() && overall.Before(look) {
		look = overall
	}
	return look
}

// reset closes with a TCP RST, so that what the kernel still holds is dropped (SO_LINGER 0).
func (w *wire) reset() {
	if tcp, ok := w.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.Close()
}

// close closes; what was written still goes out.
func (w *wire) close() { _ = w.Close() }
