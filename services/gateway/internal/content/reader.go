// SPDX-License-Identifier: Apache-2.0

package content

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"math"
)

// Source gives the submitted bytes piece by piece. Next returns io.EOF behind the last one; a piece is only read, and
// only until the next call.
type Source interface {
	Next() ([]byte, error)
}

// Facts is what the queue keeps of a content. It is complete once Reader has returned io.EOF.
type Facts struct {
	// Size is the number of bytes as sent, before dot-stuffing (RFC 1870, section 5).
	Size uint64
	// SHA256 is the digest of the bytes as sent.
	SHA256 [sha256.Size]byte
	// HeaderSize is the number of bytes of the header block with its empty line, our own fields included.
	HeaderSize uint32
	// PrependedSize is the number of bytes of our own fields.
	PrependedSize uint32
	// DotLines says that a line begins with a dot (RFC 5321, section 4.5.2).
	DotLines bool
	// EightBit says that there are bytes over 127, in header or body (RFC 6152).
	EightBit bool
}

// Reader checks a content and gives it in the form in which it is stored. Use it in this order: ReadHeader, Prepend,
// then Next or Read until io.EOF, then Facts. It is not safe for concurrent use.
type Reader struct {
	src    Source
	rules  Rules
	digest hash.Hash // over the submitted bytes; may be nil

	newlines newlines
	body     bodyScan
	head     *Header
	size     int64 // submitted, with CRLF line endings
	out      [][]byte
	unread   []byte // piece Read has begun
	ended    bool
	lastLF   bool
	sum      hash.Hash
	facts    Facts
	err      error
}

// NewReader returns a reader over src. digest, when not nil, is given every submitted byte before anything is changed
// (G-12).
func NewReader(src Source, rules Rules, digest hash.Hash) *Reader {
	if rules.Relayed {
		rules.MaxLine = math.MaxInt
	}
	return &Reader{
		src: src, rules: rules, digest: digest,
		newlines: newlines{mode: rules.Newlines},
		body:     bodyScan{limit: rules.MaxLine},
		sum:      sha256.New(),
	}
}

// pull returns the next submitted piece with CRLF line endings, counted against the size limit as it comes in.
func (r *Reader) pull() ([]byte, error) {
	piece, err := r.src.Next()
	if errors.Is(err, io.EOF) {
		if err := r.newlines.end(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	if r.digest != nil {
		r.digest.Write(piece)
	}
	if r.size+int64(len(piece)) > r.rules.MaxSize {
		return nil, tooLarge(r.rules.MaxSize)
	}
	piece, err = r.newlines.pass(piece)
	if err != nil {
		return nil, err
	}
	if r.size += int64(len(piece)); r.size > r.rules.MaxSize {
		return nil, tooLarge(r.rules.MaxSize)
	}
	return piece, nil
}

// ReadHeader reads and checks the header block. The error is a *Fault, or the source's.
func (r *Reader) ReadHeader() (*Header, error) {
	block, rest, err := r.headerBlock()
	if err != nil {
		return nil, r.fail(err)
	}
	head, err := parseHeader(block, r.rules)
	if err != nil {
		return nil, r.fail(err)
	}
	r.head = head
	r.facts.EightBit = head.NotASCII
	r.facts.DotLines = bytes.HasPrefix(head.Block, []byte(".")) || bytes.Contains(head.Block, []byte("\n."))
	r.body.lines = bytes.Count(block, []byte{'\n'})
	if err := r.body.piece(rest); err != nil {
		return nil, r.fail(err)
	}
	r.out = append(r.out, head.Block, rest)
	r.lastLF = endsInLF(rest, endsInLF(head.Block, true))
	if r.ended {
		if err := r.end(); err != nil {
			return nil, r.fail(err)
		}
	}
	return head, nil
}

// headerBlock collects pieces until the empty line. The block is a part of the first piece if it fits in there.
func (r *Reader) headerBlock() (block, rest []byte, err error) {
	var collected []byte
	for {
		piece, err := r.pull()
		if errors.Is(err, io.EOF) {
			r.ended = true
			return collected, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		from := len(collected)
		if from == 0 {
			collected = piece
		} else {
			collected = append(collected, piece...)
		}
		end := headerEnd(collected, from)
		if end > r.rules.MaxHeaderBytes || (end < 0 && len(collected) > r.rules.MaxHeaderBytes) {
			return nil, nil, malformed(ReasonHeaderTooLarge, 0, "the header is larger than %d bytes", r.rules.MaxHeaderBytes)
		}
		if end >= 0 {
			return collected[:end:end], collected[end:], nil
		}
		if from == 0 {
			collected = bytes.Clone(piece)
		}
	}
}

// Peek returns the beginning of the body, n bytes or, when it is shorter, all of it; it may be called between ReadHeader
// and Prepend. It may read on, so of the Header only what was taken before may be used afterwards. The bytes are good until the first Next or Read.
// The error is a *Fault, or the source's.
func (r *Reader) Peek(n int) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	body := r.out[1:]
	if have := len(body[0]); have >= n || r.ended {
		return body[0][:min(n, have)], nil
	}
	// The pieces so far lie in the source's buffer.
	r.head.Block = bytes.Clone(r.head.Block)
	begun := append(make([]byte, 0, n+len(body[0])), body[0]...)
	for len(begun) < n && !r.ended {
		piece, err := r.pull()
		switch {
		case errors.Is(err, io.EOF):
			r.ended = true
		case err == nil:
			err = r.body.piece(piece)
			begun = append(begun, piece...)
		}
		if err != nil && !r.ended {
			return nil, r.fail(err)
		}
	}
	r.out = append(r.out[:0], r.head.Block, begun)
	r.lastLF = endsInLF(begun, endsInLF(r.head.Block, true))
	if r.ended {
		if err := r.end(); err != nil {
			return nil, r.fail(err)
		}
	}
	return begun[:min(n, len(begun))], nil
}

// Prepend puts our own header fields, complete with their CRLF, in front of the block. It must be called before the
// first Next or Read, at most once.
func (r *Reader) Prepend(fields []byte) {
	r.out = append([][]byte{fields}, r.out...)
	r.facts.PrependedSize = uint32(len(fields))
	r.facts.HeaderSize = uint32(len(fields) + len(r.head.Block))
}

// Next returns the next piece of the content as it is stored, io.EOF behind the last one. The piece is good until the
// next call.
func (r *Reader) Next() ([]byte, error) {
	for r.err == nil {
		if len(r.out) > 0 {
			piece := r.out[0]
			r.out = r.out[1:]
			if len(piece) == 0 {
				continue
			}
			r.sum.Write(piece)
			r.facts.Size += uint64(len(piece))
			return piece, nil
		}
		if r.ended {
			return nil, r.finish()
		}
		r.advance()
	}
	return nil, r.err
}

// advance queues the next piece of the body.
func (r *Reader) advance() {
	piece, err := r.pull()
	switch {
	case errors.Is(err, io.EOF):
		err = r.end()
	case err == nil:
		err = r.body.piece(piece)
	}
	if err != nil {
		_ = r.fail(err)
		return
	}
	if len(piece) > 0 {
		r.lastLF = endsInLF(piece, r.lastLF)
		r.out = append(r.out, piece)
	}
}

// end closes the last line: what is stored is what is sent, and DATA ends lines only (RFC 5321, section 4.5.2).
func (r *Reader) end() error {
	r.ended = true
	if r.lastLF {
		return nil
	}
	r.out = append(r.out, crlf)
	return r.body.end()
}

// Read gives the same bytes as Next, for stores that take an io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.unread) == 0 {
		piece, err := r.Next()
		if err != nil {
			return 0, err
		}
		r.unread = piece
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

// Facts returns what is known of the content. It is complete once Next or Read has returned io.EOF.
func (r *Reader) Facts() Facts { return r.facts }

// finish completes the facts; io.EOF stays the answer from then on.
func (r *Reader) finish() error {
	r.facts.DotLines = r.facts.DotLines || r.body.dots
	r.facts.EightBit = r.facts.EightBit || r.body.eight
	r.sum.Sum(r.facts.SHA256[:0])
	return r.fail(io.EOF)
}

// fail keeps the first error: a content at fault stays refused.
func (r *Reader) fail(err error) error {
	if r.err == nil {
		r.err = err
	}
	return r.err
}

// endsInLF reports whether the bytes so far end in LF; before is the answer for those in front of piece.
func endsInLF(piece []byte, before bool) bool {
	if len(piece) == 0 {
		return before
	}
	return piece[len(piece)-1] == '\n'
}

// Bytes returns a Source that gives content in one piece.
func Bytes(content []byte) Source { return &whole{content: content} }

type whole struct {
	content []byte
	given   bool
}

// Next gives everything the first time (Source).
func (w *whole) Next() ([]byte, error) {
	if w.given {
		return nil, io.EOF
	}
	w.given = true
	return w.content, nil
}
