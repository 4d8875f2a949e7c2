// SPDX-License-Identifier: Apache-2.0

// Package mailfile reads a message from a file as it is to be submitted: with CRLF line endings.
package mailfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrMixedNewlines means that a file has both CRLF and bare LF (or a bare CR): which one is meant nobody can say.
var ErrMixedNewlines = errors.New("the file mixes CRLF with bare LF or CR; make it one or the other")

// ErrTooLarge means that a file is larger than the limit of Read.
var ErrTooLarge = errors.New("the file is too large")

// Read returns the content of the file, "-" for standard input, with an LF-only file turned into CRLF. At most limit
// bytes are read.
func Read(name string, stdin io.Reader, limit int64) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", name, ErrTooLarge, limit)
	}
	data, err = CRLF(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// CRLF turns LF-only text into CRLF and leaves CRLF text as it is (RFC 5321, section 2.3.8). Mixed text is
// ErrMixedNewlines.
func CRLF(data []byte) ([]byte, error) {
	lf, cr, crlf := bytes.Count(data, []byte("\n")), bytes.Count(data, []byte("\r")), bytes.Count(data, []byte("\r\n"))
	switch {
	case lf == crlf && cr == crlf:
		return data, nil
	case cr == 0:
		return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")), nil
	default:
		return nil, ErrMixedNewlines
	}
}
