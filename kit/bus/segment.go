// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// Headers of a segment. A segment is one JetStream message whose data is a sequence of records:
//
//	length of meta (32 bit, big endian), meta (a protobuf message), length of content (the same), content
const (
	HeaderSegment  = "Postrider-Segment"  // version of the wire form
	HeaderRecords  = "Postrider-Records"  // number of records, decimal
	HeaderTakeover = "Postrider-Takeover" // owner that took a partition over; such a segment has no records
)

const segmentVersion = "1"

// Limits of a segment. A group of records that must stay together is never split, so a segment that holds a
// single group may pass the first two, up to MaxGroupBytes.
const (
	MaxSegmentRecords = 256
	MaxSegmentBytes   = 1 << 20

	// MaxPayload is what servers must accept as one message with its headers, in bytes (max_payload).
	MaxPayload = 4 << 20
	// MaxGroupBytes is the largest data of one segment; the rest of MaxPayload is for headers.
	MaxGroupBytes = MaxPayload - 64<<10
)

const frameOverhead = 8 // the two lengths

// Frame is one record of a segment: what is known of it as a protobuf message, and its content.
type Frame struct {
	Meta    []byte
	Content []byte
	// More continues Content when a frame is appended, so that a large content need not be joined first.
	// A decoded frame has all of it in Content.
	More [][]byte

	index int
}

// FrameMail makes the frame of a record. The content, which may come in several slices, must not change until
// the append is answered.
func FrameMail(m *eventv1.QueuedMail, content ...[]byte) (Frame, error) {
	return newFrame("record "+RecordID(m), m, content)
}

// FrameOutcome makes the frame of an outcome with what a notification returns of the original.
func FrameOutcome(o *eventv1.Outcome, returned ...[]byte) (Frame, error) {
	return newFrame("outcome "+o.GetId(), o, returned)
}

// FrameJoined makes the frame of a notification that is told later.
func FrameJoined(n *eventv1.JoinedNotice) (Frame, error) {
	return newFrame("joined notification of outcome "+n.GetOutcomeId(), n, nil)
}

func newFrame(what string, m proto.Message, content [][]byte) (Frame, error) {
	meta, err := proto.Marshal(m)
	if err != nil {
		return Frame{}, fmt.Errorf("encode %s: %w", what, err)
	}
	f := Frame{Meta: meta}
	if len(content) > 0 {
		f.Content, f.More = content[0], content[1:]
	}
	return f, nil
}

// Mail decodes the meta of a frame in MAIL, RETRY or PARK. The error is a *CorruptError.
func (f Frame) Mail() (*eventv1.QueuedMail, error) {
	m := new(eventv1.QueuedMail)
	if err := proto.Unmarshal(f.Meta, m); err != nil {
		return nil, &CorruptError{Index: f.index, Reason: "record is not a QueuedMail", Err: err}
	}
	return m, nil
}

// Outcome decodes the meta of a frame in OUTCOME. The error is a *CorruptError.
func (f Frame) Outcome() (*eventv1.Outcome, error) {
	o := new(eventv1.Outcome)
	if err := proto.Unmarshal(f.Meta, o); err != nil {
		return nil, &CorruptError{Index: f.index, Reason: "record is not an Outcome", Err: err}
	}
	return o, nil
}

// Joined decodes the meta of a frame in JOINED. The error is a *CorruptError.
func (f Frame) Joined() (*eventv1.JoinedNotice, error) {
	n := new(eventv1.JoinedNotice)
	if err := proto.Unmarshal(f.Meta, n); err != nil {
		return nil, &CorruptError{Index: f.index, Reason: "record is not a JoinedNotice", Err: err}
	}
	return n, nil
}

// Size returns the bytes the frame takes in a segment.
func (f Frame) Size() int {
	n := frameOverhead + len(f.Meta) + len(f.Content)
	for _, more := range f.More {
		n += len(more)
	}
	return n
}

func (f Frame) appendTo(data []byte) []byte {
	data = binary.BigEndian.AppendUint32(data, uint32(len(f.Meta)))
	data = append(data, f.Meta...)
	data = binary.BigEndian.AppendUint32(data, uint32(f.Size()-frameOverhead-len(f.Meta)))
	data = append(data, f.Content...)
	for _, more := range f.More {
		data = append(data, more...)
	}
	return data
}

// EncodeSegment packs frames into one message body with its headers. It is what an Appender does; alone it
// serves tests and tools.
func EncodeSegment(frames []Frame) (nats.Header, []byte) {
	size := 0
	for _, f := range frames {
		size += f.Size()
	}
	data := make([]byte, 0, size)
	for _, f := range frames {
		data = f.appendTo(data)
	}
	return segmentHeader(len(frames)), data
}

func segmentHeader(records int) nats.Header {
	return nats.Header{
		HeaderSegment: {segmentVersion},
		HeaderRecords: {strconv.Itoa(records)},
	}
}

// CorruptError reports bytes in a stream that are not a segment, or not wholly.
type CorruptError struct {
	// Index of the first record that cannot be read; the ones before it can. Records after it can be read
	// only when a Frame's own Mail or Outcome gave the error.
	Index  int
	Reason string
	Err    error
}

func (e *CorruptError) Error() string {
	text := fmt.Sprintf("corrupt segment at record %d: %s", e.Index, e.Reason)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Segment is a decoded segment. Its frames are parts of the message's data: nothing is copied, so keeping one
// frame keeps them all.
type Segment struct {
	data []byte
	at   []int // offset of each frame
}

// DecodeSegment finds the records of a segment without decoding them. When the bytes do not fit their lengths
// the segment holds the records before the first bad one, and the error is a *CorruptError with its index.
func DecodeSegment(h nats.Header, data []byte) (Segment, error) {
	if v := h.Get(HeaderSegment); v != segmentVersion {
		return Segment{}, &CorruptError{Reason: fmt.Sprintf("version %q, this program reads %q", v, segmentVersion)}
	}
	n, ok := decimal(h.Get(HeaderRecords))
	if !ok {
		return Segment{}, &CorruptError{Reason: fmt.Sprintf("number of records %q", h.Get(HeaderRecords))}
	}
	s := Segment{data: data, at: make([]int, 0, min(n, len(data)/frameOverhead))}
	next := 0
	for i := range n {
		_, _, end, reason := splitFrame(data, next)
		if reason != "" {
			return s, &CorruptError{Index: i, Reason: fmt.Sprintf("%s (%d records announced)", reason, n)}
		}
		s.at = append(s.at, next)
		next = end
	}
	if next != len(data) {
		return s, &CorruptError{Index: n, Reason: fmt.Sprintf("%d bytes after the last record", len(data)-next)}
	}
	return s, nil
}

// Len returns the number of records that can be read.
func (s Segment) Len() int { return len(s.at) }

// Size returns the bytes of the segment's data.
func (s Segment) Size() int { return len(s.data) }

// Frame returns record i, from 0. The error is a *CorruptError when there is no such record.
func (s Segment) Frame(i int) (Frame, error) {
	if i < 0 || i >= len(s.at) {
		return Frame{}, &CorruptError{Index: i, Reason: fmt.Sprintf("%d records can be read", len(s.at))}
	}
	meta, content, _, reason := splitFrame(s.data, s.at[i])
	if reason != "" {
		return Frame{}, &CorruptError{Index: i, Reason: reason}
	}
	return Frame{Meta: meta, Content: content, index: i}, nil
}

func splitFrame(data []byte, at int) (meta, content []byte, end int, reason string) {
	meta, end, ok := sized(data, at)
	if !ok {
		return nil, nil, 0, "record is cut short"
	}
	content, end, ok = sized(data, end)
	if !ok {
		return nil, nil, 0, "content is cut short"
	}
	return meta, content, end, ""
}

func sized(data []byte, at int) (field []byte, end int, ok bool) {
	if len(data)-at < 4 {
		return nil, 0, false
	}
	n := uint64(binary.BigEndian.Uint32(data[at:]))
	at += 4
	if n > uint64(len(data)-at) {
		return nil, 0, false
	}
	end = at + int(n)
	return data[at:end:end], end, true
}
