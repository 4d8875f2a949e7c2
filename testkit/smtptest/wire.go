// SPDX-License-Identifier: Apache-2.0

package smtptest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// Bounds of what a peer takes in.
const (
	maxLine = 64 << 10  // octets of one command line
	maxData = 256 << 20 // octets of one message
)

// Errors of the wire that a test may want to tell apart.
var (
	// ErrLineTooLong says that the client sent a command line of 64 KiB or more.
	ErrLineTooLong = errors.New("smtptest: command line of 64 KiB or more")
	// ErrDataTooLong says that the client sent message data over 256 MiB.
	ErrDataTooLong = errors.New("smtptest: message data over 256 MiB")
)

// readLine reads one command line and gives it without its line end. bare says that it ended in LF without CR, or
// holds a CR elsewhere (RFC 5321, section 2.3.8).
func readLine(br *bufio.Reader) (line string, bare bool, err error) {
	var b []byte
	for {
		part, err := br.ReadSlice('\n')
		b = append(b, part...)
		if len(b) >= maxLine {
			return "", false, ErrLineTooLong
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			if errors.Is(err, io.EOF) && len(b) > 0 {
				err = fmt.Errorf("%w after the unfinished line %q", io.ErrUnexpectedEOF, clip(string(b)))
			}
			return "", false, err
		}
		break
	}
	text, crlf := bytes.CutSuffix(b, []byte("\r\n"))
	if !crlf {
		text = text[:len(text)-1]
	}
	return string(text), !crlf || bytes.IndexByte(text, '\r') >= 0, nil
}

// dataReader takes the data of one message from the wire: up to CRLF.CRLF and nothing else (RFC 5321, section
// 4.1.1.4), with the dots that the client added removed (section 4.5.2).
type dataReader struct {
	br       *bufio.Reader
	each     func(part []byte) error // one part of the message, dots removed; an error ends the reading
	rawEach  func(part []byte)       // one part as it came, the final dot included; nil: not wanted
	size     int64                   // octets of the message so far, dots removed
	bareCR   int                     // CR not followed by LF
	bareLF   int                     // LF not after CR
	eightBit bool                    // an octet over 127 was seen
	longest  int                     // longest line, its CRLF not counted
}

// read runs until the final dot. On an error the message is incomplete.
func (d *dataReader) read() error {
	atStart, line := true, 0
	var last byte
	for {
		full, err := d.br.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if d.rawEach != nil {
			d.rawEach(full)
		}
		if atStart && string(full) == ".\r\n" {
			return nil
		}
		part := full
		if atStart && full[0] == '.' {
			part = full[1:]
		}
		crlf := endsCRLF(last, full)
		d.count(last, part)
		last = full[len(full)-1]
		atStart = crlf
		line += len(part)
		if last == '\n' {
			if crlf {
				line--
			}
			d.longest = max(d.longest, line-1)
			line = 0
		}
		d.size += int64(len(part))
		if d.size > maxData {
			return ErrDataTooLong
		}
		if err := d.each(part); err != nil {
			return err
		}
	}
}

// endsCRLF reports whether a part ends in CRLF; before is the octet that came before the part.
func endsCRLF(before byte, part []byte) bool {
	if n := len(part); n >= 2 {
		before = part[n-2]
	}
	return before == '\r' && part[len(part)-1] == '\n'
}

// count looks for bare CR and LF and for 8-bit octets in a part, which has an LF at its end if at all; before is the
// octet that came before it.
func (d *dataReader) count(before byte, part []byte) {
	if len(part) == 0 {
		return
	}
	if before == '\r' && part[0] != '\n' {
		d.bareCR++
	}
	var all byte
	for _, c := range part {
		all |= c
	}
	if all >= 0x80 {
		d.eightBit = true
	}
	last := len(part) - 1
	if last > 0 { // CR at the very end is looked at with the next part
		inner := part[:last]
		d.bareCR += bytes.Count(inner, []byte{'\r'})
		before = part[last-1]
	}
	if part[last] != '\n' {
		return
	}
	switch {
	case before != '\r':
		d.bareLF++
	case last > 0:
		d.bareCR-- // that one is followed by LF
	}
}

// CloseKind says how a peer ended a connection.
type CloseKind string

// The ways in which a connection ends.
const (
	ClosedFIN   CloseKind = "fin"   // orderly: end of input was read
	ClosedReset CloseKind = "reset" // TCP RST
	ClosedHere  CloseKind = "here"  // our own side closed it, or the test ended
	ClosedLimit CloseKind = "limit" // the time allowed ran out and the connection is still open
	ClosedError CloseKind = "error" // another error of the connection
)

// closeKind names the end that a read or write error tells of.
func closeKind(err error) CloseKind {
	var timeout net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ClosedFIN
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ClosedReset
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return ClosedHere
	case errors.As(err, &timeout) && timeout.Timeout():
		return ClosedLimit
	default:
		return ClosedError
	}
}

// clip shortens a text for messages and transcripts.
func clip(s string) string {
	const limit = 200
	if len(s) <= limit {
		return s
	}
	return s[:limit] + fmt.Sprintf("… (%d octets)", len(s))
}

// verbOf splits a command line into its verb in upper case and the rest without surrounding blanks.
func verbOf(line string) (verb, arg string) {
	verb, arg, _ = strings.Cut(strings.TrimLeft(line, " "), " ")
	return strings.ToUpper(strings.TrimRight(verb, " \t")), strings.TrimSpace(arg)
}
