// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

// mailFrame makes the frame of a small record.
func mailFrame(tb testing.TB, id string, content ...[]byte) Frame {
	tb.Helper()
	f, err := FrameMail(&eventv1.QueuedMail{
		MessageId: id, Part: 1, Parts: 1, Destination: "example.test",
		Envelope: &eventv1.Envelope{Sender: "a@b.test", Recipients: []*eventv1.Recipient{{Address: "c@example.test"}}},
	}, content...)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func TestSegmentRoundTrip(t *testing.T) {
	whole := bytes.Repeat([]byte("line\r\n"), 1000)
	h, data := EncodeSegment([]Frame{
		mailFrame(t, "one", []byte("content one")),
		mailFrame(t, "two"),
		mailFrame(t, "three", whole[:10], whole[10:500], whole[500:]),
	})
	s, err := DecodeSegment(h, data)
	if err != nil || s.Len() != 3 || s.Size() != len(data) {
		t.Fatalf("got %d records, %d bytes, %v", s.Len(), s.Size(), err)
	}
	for i, want := range []struct{ id, content string }{{"one", "content one"}, {"two", ""}, {"three", string(whole)}} {
		f, err := s.Frame(i)
		if err != nil {
			t.Fatal(err)
		}
		m, err := f.Mail()
		if err != nil || m.GetMessageId() != want.id || string(f.Content) != want.content {
			t.Errorf("record %d: got %q with %d bytes, %v", i, m.GetMessageId(), len(f.Content), err)
		}
	}
}

func TestSegmentContentIsNotCopiedAndCannotGrowIntoTheNext(t *testing.T) {
	h, data := EncodeSegment([]Frame{mailFrame(t, "one", []byte("first")), mailFrame(t, "two", []byte("second"))})
	s, err := DecodeSegment(h, data)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := s.Frame(0)
	_ = append(f.Content, "overwritten"...)
	g, _ := s.Frame(1)
	if m, err := g.Mail(); err != nil || m.GetMessageId() != "two" {
		t.Fatalf("appending to one content damaged the next record: %v", err)
	}
	if allocs := testing.AllocsPerRun(100, func() { _, _ = DecodeSegment(h, data) }); allocs > 1 {
		t.Errorf("decoding took %v allocations, want one for the index", allocs)
	}
}

func TestOutcomeFrame(t *testing.T) {
	f, err := FrameOutcome(&eventv1.Outcome{Id: OutcomeID("m", 1, 1)}, []byte("Subject: x\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	h, data := EncodeSegment([]Frame{f})
	s, err := DecodeSegment(h, data)
	if err != nil {
		t.Fatal(err)
	}
	f, _ = s.Frame(0)
	if o, err := f.Outcome(); err != nil || o.GetId() != "m.1.1" {
		t.Errorf("got %v, %v", o, err)
	}
}

func TestDecodeSegmentNamesTheFirstBadRecord(t *testing.T) {
	h, data := EncodeSegment([]Frame{mailFrame(t, "one", []byte("1")), mailFrame(t, "two", []byte("2"))})
	first := mailFrame(t, "one", []byte("1")).Size()
	with := func(version, records string) nats.Header {
		return nats.Header{HeaderSegment: {version}, HeaderRecords: {records}}
	}
	for _, c := range []struct {
		name      string
		header    nats.Header
		data      []byte
		len, indx int
	}{
		{"no header", nil, data, 0, 0},
		{"later version", with("2", "2"), data, 0, 0},
		{"no number", with("1", ""), data, 0, 0},
		{"negative number", with("1", "-1"), data, 0, 0},
		{"more announced than there", with("1", "2000000000"), data, 2, 2},
		{"fewer announced than there", with("1", "1"), data, 1, 1},
		{"cut in the second content", h, data[:len(data)-1], 1, 1},
		{"cut in the first meta", h, data[:6], 0, 0},
		{"cut between records", h, data[:first], 1, 1},
		{"cut in a length", h, data[:first+3], 1, 1},
		{"length past the end", h, append([]byte{0xff, 0xff, 0xff, 0xff}, data[4:]...), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := DecodeSegment(c.header, c.data)
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) || corrupt.Index != c.indx || s.Len() != c.len {
				t.Fatalf("got %d records and %v, want %d and index %d", s.Len(), err, c.len, c.indx)
			}
			for i := range s.Len() {
				if _, err := s.Frame(i); err != nil {
					t.Errorf("record %d before the bad one: %v", i, err)
				}
			}
			if _, err := s.Frame(s.Len()); !errors.As(err, &corrupt) {
				t.Errorf("the bad record gave %v", err)
			}
		})
	}
}

func TestUndecodableRecordLeavesItsNeighboursReadable(t *testing.T) {
	h, data := EncodeSegment([]Frame{mailFrame(t, "one"), {Meta: []byte{0xff}, Content: []byte("x")}, mailFrame(t, "three")})
	s, err := DecodeSegment(h, data)
	if err != nil || s.Len() != 3 {
		t.Fatal(s.Len(), err)
	}
	f, _ := s.Frame(1)
	var corrupt *CorruptError
	if _, err := f.Mail(); !errors.As(err, &corrupt) || corrupt.Index != 1 || corrupt.Unwrap() == nil {
		t.Errorf("got %v, want a CorruptError at record 1", err)
	}
	if _, err := f.Outcome(); !errors.As(err, &corrupt) {
		t.Errorf("got %v, want a CorruptError", err)
	}
	f, _ = s.Frame(2)
	if m, err := f.Mail(); err != nil || m.GetMessageId() != "three" {
		t.Errorf("the record behind it: %v, %v", m, err)
	}
}

func TestEmptySegment(t *testing.T) {
	h, data := EncodeSegment(nil)
	s, err := DecodeSegment(h, data)
	if err != nil || s.Len() != 0 || len(data) != 0 {
		t.Fatal(s.Len(), len(data), err)
	}
}

func FuzzDecodeSegment(f *testing.F) {
	_, data := EncodeSegment([]Frame{mailFrame(f, "one", []byte("1")), mailFrame(f, "two", []byte("2"))})
	f.Add("1", "2", data)
	f.Add("1", "0", []byte{})
	f.Add("1", "3", data[:len(data)-2])
	f.Add("1", "4294967295", []byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, version, records string, data []byte) {
		s, err := DecodeSegment(nats.Header{HeaderSegment: {version}, HeaderRecords: {records}}, data)
		var corrupt *CorruptError
		if err != nil && (!errors.As(err, &corrupt) || corrupt.Index < s.Len()) {
			t.Fatalf("got %d records and %v", s.Len(), err)
		}
		frames := make([]Frame, s.Len())
		for i := range frames {
			if frames[i], err = s.Frame(i); err != nil {
				t.Fatalf("record %d of %d: %v", i, s.Len(), err)
			}
			_, _ = frames[i].Mail()
			_, _ = frames[i].Outcome()
		}
		if corrupt == nil && version == "1" {
			if h, again := EncodeSegment(frames); h.Get(HeaderRecords) != records || !bytes.Equal(again, data) {
				t.Fatal("encoding what was decoded gives other bytes")
			}
		}
	})
}

func BenchmarkDecodeSegment(b *testing.B) {
	content := bytes.Repeat([]byte("0123456789abcde\n"), 128)
	frames := make([]Frame, MaxSegmentRecords)
	for i := range frames {
		frames[i] = mailFrame(b, fmt.Sprintf("message-%d", i), content)
	}
	h, data := EncodeSegment(frames)
	for _, c := range []struct {
		name string
		meta bool
	}{{"frames", false}, {"frames and meta", true}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				s, err := DecodeSegment(h, data)
				if err != nil {
					b.Fatal(err)
				}
				for i := range s.Len() {
					f, _ := s.Frame(i)
					if c.meta {
						if _, err := f.Mail(); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*MaxSegmentRecords), "ns/record")
		})
	}
}
