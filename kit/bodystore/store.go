// SPDX-License-Identifier: Apache-2.0

package bodystore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// MaxSize is the largest content either store takes, in bytes. What a service accepts is far less.
const MaxSize = 1 << 30

// ErrMissing says that a content is not there, or not whole. Its record must be held: it can never be sent.
var ErrMissing = errors.New("message content is missing")

// ErrTooLarge says that a content is over MaxSize.
var ErrTooLarge = errors.New("message content is too large")

// RefError reports a reference that this store did not make.
type RefError struct{ Ref string }

func (e *RefError) Error() string {
	return fmt.Sprintf("reference %q is not one of this body store", e.Ref)
}

// Store keeps contents. It is safe for use by many goroutines.
type Store interface {
	// Put stores a content under an id that was never used before (letters, digits, dash and underscore, at
	// most 64). When it returns without error the content is on disk. ref is what Open and Delete need.
	Put(ctx context.Context, id string, r io.Reader) (ref string, size int64, err error)
	// Open opens a content. The error wraps ErrMissing when it is not there or has not the size it was stored
	// with, and is a *RefError for a reference of another store.
	Open(ctx context.Context, ref string) (Body, error)
	// Delete removes a content. That it is not there is no error.
	Delete(ctx context.Context, ref string) error
	// List goes over what was stored before a time, also what a crash left half written.
	List(ctx context.Context, olderThan time.Time) iter.Seq2[Entry, error]
	// Usage returns how many bytes the contents take.
	Usage(ctx context.Context) (int64, error)
}

// Body is an open content. That of Files is an *os.File below, which io.Copy sends without copying.
type Body interface {
	io.ReadSeekCloser
	Size() int64
}

// Entry is a content that was stored.
type Entry struct {
	Ref, ID string
	Size    int64 // bytes, of a half written content what there is
	Stored  time.Time
}

// Open returns the store of a configuration: files below dataDir where the server is embedded, or, when dataDir is
// empty, the stream.
func Open(js jetstream.JetStream, dataDir string) (Store, error) {
	if dataDir == "" {
		return NewChunks(js), nil
	}
	return NewFiles(dataDir)
}

// checkID refuses what cannot be both a file name and a subject token.
func checkID(id string) error {
	good := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '_'
	}
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool { return !good(r) }) {
		return fmt.Errorf("body store: bad id %q", id)
	}
	return nil
}

// parseRef reads a reference: a kind, the id, and numbers.
func parseRef(ref, kind string, numbers int) (id string, n []int64, err error) {
	rest, ok := strings.CutPrefix(ref, kind+":")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != numbers+1 || checkID(parts[0]) != nil {
		return "", nil, &RefError{Ref: ref}
	}
	for _, p := range parts[1:] {
		v, err := strconv.ParseInt(p, 10, 64)
		if err != nil || v < 0 || v > MaxSize || strconv.FormatInt(v, 10) != p {
			return "", nil, &RefError{Ref: ref}
		}
		n = append(n, v)
	}
	return parts[0], n, nil
}

// limited reads at most MaxSize bytes, and ends when its context does.
type limited struct {
	ctx  context.Context
	r    io.Reader
	size int64
	most int64
}

func limit(ctx context.Context, r io.Reader) *limited { return &limited{ctx: ctx, r: r, most: MaxSize} }

func (l *limited) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := l.r.Read(p)
	if l.size += int64(n); l.size > l.most {
		return n, ErrTooLarge
	}
	return n, err
}
