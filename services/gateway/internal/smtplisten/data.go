// SPDX-License-Identifier: Apache-2.0

package smtplisten

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// batch is about how many bytes one piece of content has.
const batch = 16 << 10

// errBareData is a bare CR or a bare LF in the data. What follows cannot be trusted to be data, or to be commands.
var errBareData = errors.New("the data hold a bare CR or a bare LF")

// dataReader reads the data of one message up to CRLF.CRLF and takes the stuffed dots away (RFC 5321, sections 4.1.1.4
// and 4.5.2). It gives only bytes in which each CR stands before a LF and each LF behind a CR.
type dataReader struct {
	r       *bufio.Reader
	mid     bool // the last bytes read did not end a line
	lastCR  bool // they ended in a CR
	ended   bool
	pending error // to be returned behind the bytes before it
	out     []byte
}

func newDataReader(r *bufio.Reader) *dataReader {
	return &dataReader{r: r, out: make([]byte, 0, 2*batch)}
}

// Next returns the next bytes of the content, io.EOF behind the end of the data, errBareData, or why the connection
// failed; io.ErrUnexpectedEOF when it was closed. It waits for no more than one line.
func (d *dataReader) Next() ([]byte, error) {
	d.out = d.out[:0]
	for d.pending == nil && len(d.out) < batch && (len(d.out) == 0 || d.r.Buffered() > 0) {
		d.pending = d.piece()
	}
	if len(d.out) > 0 {
		return d.out, nil
	}
	return nil, d.pending
}

// piece reads one line, or as much of it as the buffer holds.
func (d *dataReader) piece() error {
	p, err := d.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read the data: %w", err)
	}
	whole := err == nil
	if !d.clean(p, whole) {
		return errBareData
	}
	if !d.mid && p[0] == '.' {
		if string(p) == ".\r\n" {
			d.ended = true
			return io.EOF
		}
		p = p[1:]
	}
	d.mid, d.lastCR = !whole, !whole && p[len(p)-1] == '\r'
	d.out = append(d.out, p...)
	return nil
}

// clean reports that no CR and no LF of a piece stands alone, a CR at its very end apart when the line goes on.
func (d *dataReader) clean(p []byte, whole bool) bool {
	if d.lastCR {
		return whole && len(p) == 1 // the LF of that CR
	}
	at := bytes.IndexByte(p, '\r')
	if whole {
		return len(p) > 1 && at == len(p)-2
	}
	return at < 0 || at == len(p)-1
}
