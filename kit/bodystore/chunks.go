// SPDX-License-Identifier: Apache-2.0

package bodystore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/postrider/postrider/kit/bus"
)

const (
	chunkKind = "nats"
	// chunkSize is the size of all chunks but the last, in bytes. It stands in each reference, so that it may be
	// another one some day.
	chunkSize = 512 << 10

	headerSize = "Postrider-Body-Size" // of the whole content; in the last chunk
)

// Chunks keeps contents in the stream BODIES, each chunk a message on body.<id>.<n>. References are
// "nats:<id>/<size>/<chunk size>".
type Chunks struct {
	js    jetstream.JetStream
	chunk int
}

// NewChunks returns the store; bus.Ensure makes its stream.
func NewChunks(js jetstream.JetStream) *Chunks { return &Chunks{js: js, chunk: chunkSize} }

// Put implements Store. Its errors are those of bus.Appender.Append. Every chunk is answered by the stream before the
// next is sent.
func (c *Chunks) Put(ctx context.Context, id string, r io.Reader) (ref string, size int64, err error) {
	if err := checkID(id); err != nil {
		return "", 0, err
	}
	size, err = c.write(ctx, id, limit(ctx, r))
	if err != nil {
		err = fmt.Errorf("store content %s: %w", id, err)
		// What is left when this fails is found by List.
		return "", 0, errors.Join(err, c.purge(context.WithoutCancel(ctx), id))
	}
	return c.ref(id, size), size, nil
}

func (c *Chunks) write(ctx context.Context, id string, r io.Reader) (size int64, err error) {
	put := ulid.Make().String()
	data, next := make([]byte, c.chunk), make([]byte, c.chunk)
	n, err := io.ReadFull(r, data)
	for i := 0; ; i++ {
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return 0, err
		}
		var more int
		if !last { // a full chunk: whether it is the last shows only behind it
			more, err = io.ReadFull(r, next)
			last = errors.Is(err, io.EOF)
		}
		size += int64(n)
		m := &nats.Msg{Subject: bus.BodySubject(id, i), Data: data[:n], Header: nats.Header{}}
		if last {
			m.Header.Set(headerSize, strconv.FormatInt(size, 10))
		}
		if _, err := bus.Publish(ctx, c.js, m, put+"."+strconv.Itoa(i)); err != nil {
			return 0, err
		}
		if last {
			return size, nil
		}
		data, next, n = next, data, more
	}
}

// Open implements Store. ctx is for Open alone; reading has time limits of its own.
func (c *Chunks) Open(ctx context.Context, ref string) (Body, error) {
	id, n, err := parseRef(ref, chunkKind, 2)
	if err != nil {
		return nil, err
	}
	if n[1] == 0 {
		return nil, &RefError{Ref: ref}
	}
	b := &chunkBody{js: c.js, id: id, size: n[0], chunk: n[1], have: -1}
	last, err := b.fetch(ctx, b.chunks()-1)
	if err != nil {
		return nil, err
	}
	if last.Header.Get(headerSize) != strconv.FormatInt(b.size, 10) {
		return nil, fmt.Errorf("content %s: the last chunk belongs to another size: %w", id, ErrMissing)
	}
	have, err := c.count(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open content %s: %w", id, err)
	}
	if have != b.chunks() {
		return nil, fmt.Errorf("content %s: %d chunks of %d: %w", id, have, b.chunks(), ErrMissing)
	}
	return b, nil
}

// count returns how many chunks of a content there are.
func (c *Chunks) count(ctx context.Context, id string) (int64, error) {
	s, err := c.js.Stream(ctx, bus.StreamBodies)
	if err != nil {
		return 0, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(chunkSubjects(id)))
	if err != nil {
		return 0, err
	}
	return int64(len(info.State.Subjects)), nil
}

// Delete implements Store.
func (c *Chunks) Delete(ctx context.Context, ref string) error {
	id, _, err := parseRef(ref, chunkKind, 2)
	if err != nil {
		return err
	}
	return c.purge(ctx, id)
}

func (c *Chunks) purge(ctx context.Context, id string) error {
	s, err := c.js.Stream(ctx, bus.StreamBodies)
	if err == nil {
		err = s.Purge(ctx, jetstream.WithPurgeSubject(chunkSubjects(id)))
	}
	if err != nil {
		return fmt.Errorf("delete content %s: %w", id, err)
	}
	return nil
}

// List implements Store. The reference of a half written content can be deleted and not opened.
func (c *Chunks) List(ctx context.Context, olderThan time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		entries, err := c.entries(ctx)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, id := range slices.Sorted(maps.Keys(entries)) {
			if e := entries[id]; e.Stored.Before(olderThan) && !yield(*e, nil) {
				return
			}
		}
	}
}

func (c *Chunks) entries(ctx context.Context) (map[string]*Entry, error) {
	r, err := bus.NewReader(ctx, c.js, bus.ReaderOptions{Stream: bus.StreamBodies, HeadersOnly: true})
	if err != nil {
		return nil, fmt.Errorf("list contents: %w", err)
	}
	defer func() { _ = r.Close() }()
	entries := make(map[string]*Entry)
	err = r.ReadToEnd(ctx, func(d bus.Delivery) error {
		parts := strings.Split(d.Subject, ".")
		if len(parts) != 3 {
			return nil
		}
		e := entries[parts[1]]
		if e == nil {
			e = &Entry{ID: parts[1], Stored: d.Time}
			entries[parts[1]] = e
		}
		n, err := strconv.ParseInt(d.Header.Get(nats.MsgSize), 10, 64)
		if err != nil {
			return fmt.Errorf("size of message %d in %s: %w", d.Sequence, d.Stream, err)
		}
		e.Size += n
		e.Ref = c.ref(e.ID, e.Size)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list contents: %w", err)
	}
	return entries, nil
}

// Usage implements Store.
func (c *Chunks) Usage(ctx context.Context) (int64, error) {
	s, err := c.js.Stream(ctx, bus.StreamBodies)
	if err != nil {
		return 0, fmt.Errorf("size of the body store: %w", err)
	}
	return int64(s.CachedInfo().State.Bytes), nil
}

func (c *Chunks) ref(id string, size int64) string {
	return chunkKind + ":" + id + "/" + strconv.FormatInt(size, 10) + "/" + strconv.Itoa(c.chunk)
}

func chunkSubjects(id string) string { return "body." + id + ".*" }

// chunkBody reads a content chunk by chunk.
type chunkBody struct {
	js          jetstream.JetStream
	id          string
	size, chunk int64

	at     int64 // position of the next read
	have   int64 // number of the chunk in data, -1 for none
	data   []byte
	closed bool
}

func (b *chunkBody) Size() int64 { return b.size }

func (b *chunkBody) chunks() int64 { return max((b.size+b.chunk-1)/b.chunk, 1) }

func (b *chunkBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	rest, err := b.rest()
	n := copy(p, rest)
	b.at += int64(n)
	return n, err
}

// WriteTo writes each chunk in one piece.
func (b *chunkBody) WriteTo(w io.Writer) (written int64, err error) {
	for {
		rest, err := b.rest()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(rest)
		b.at += int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
}

// rest returns what the chunk at the position still has, never nothing, or io.EOF.
func (b *chunkBody) rest() ([]byte, error) {
	if b.closed {
		return nil, fmt.Errorf("read content %s: %w", b.id, fs.ErrClosed)
	}
	if b.at >= b.size {
		return nil, io.EOF
	}
	if i := b.at / b.chunk; i != b.have {
		d, err := b.fetch(context.Background(), i)
		if err != nil {
			return nil, err
		}
		b.have, b.data = i, d.Data
	}
	return b.data[b.at-b.have*b.chunk:], nil
}

func (b *chunkBody) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.at
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, fmt.Errorf("seek in content %s: position %d", b.id, offset)
	}
	b.at = offset
	return offset, nil
}

func (b *chunkBody) Close() error {
	b.closed, b.data, b.have = true, nil, -1
	return nil
}

// fetch reads chunk i and checks its size. A server that does not answer is asked a few times.
func (b *chunkBody) fetch(ctx context.Context, i int64) (bus.Delivery, error) {
	const tries = 3
	for try := 1; ; try++ {
		d, err := bus.ReadNext(ctx, b.js, bus.StreamBodies, bus.BodySubject(b.id, int(i)), 1)
		switch {
		case errors.Is(err, bus.ErrNoMore):
			return d, fmt.Errorf("content %s, chunk %d: %w", b.id, i, ErrMissing)
		case err == nil && int64(len(d.Data)) != min(b.chunk, b.size-i*b.chunk):
			return d, fmt.Errorf("content %s, chunk %d has %d bytes: %w", b.id, i, len(d.Data), ErrMissing)
		case err == nil:
			return d, nil
		case try == tries || ctx.Err() != nil:
			return d, fmt.Errorf("read content %s: %w", b.id, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond * time.Duration(try)):
		}
	}
}
