// SPDX-License-Identifier: Apache-2.0

package loopdetect

import (
	"bytes"
	"fmt"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
)

func testKey(t testing.TB) Key {
	t.Helper()
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// value returns the unfolded value of a header field.
func value(t testing.TB, field []byte) string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(append(bytes.Clone(field), "\r\n"...)))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header.Get(TraceField)
}

func addresses(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("user%d@example.com", i)
	}
	return list
}

func TestL03_TraceHeaderRoundTrip(t *testing.T) {
	s := NewSealer(testKey(t))
	for _, n := range []int{1, 8, 9, 100, 1000} {
		want := Trace{Instance: "node.example", MessageID: "01HX0000000000000000000000", Hop: 7, Recipients: s.Recipients(addresses(n))}
		field := s.Field(want)
		for _, line := range strings.Split(string(field), "\r\n") {
			if len(line) > 78 {
				t.Errorf("%d recipients: a line of %d bytes", n, len(line))
			}
		}
		got, ok := s.Open(value(t, field))
		if !ok || got.Hop != 7 || got.MessageID != want.MessageID || strings.Join(got.Recipients, ",") != strings.Join(want.Recipients, ",") {
			t.Errorf("%d recipients: got %+v, %v", n, got, ok)
		}
		if len(got.Recipients) != min(n, 100) || len(got.Recipients[0]) != 8 {
			t.Errorf("%d recipients: %d hashes of %d characters", n, len(got.Recipients), len(got.Recipients[0]))
		}
	}
}

func TestL03_ChangedOrForeignTraceIsIgnored(t *testing.T) {
	s := NewSealer(testKey(t))
	good := value(t, s.Field(Trace{Instance: "node.example", MessageID: "01HX0000000000000000000000", Hop: 7, Recipients: s.Recipients(addresses(3))}))
	if _, ok := s.Open(good); !ok {
		t.Fatal("the untouched header is not valid")
	}
	if _, ok := NewSealer(testKey(t)).Open(good); ok {
		t.Error("another key opens it")
	}
	changed := map[string]string{
		"hop": strings.Replace(good, "h=7", "h=0", 1), "message": strings.Replace(good, "01HX", "01HY", 1),
		"instance": strings.Replace(good, "node.", "nodf.", 1), "version": strings.Replace(good, "v=1", "v=2", 1),
		"no digest": good[:strings.Index(good, "d=")], "empty": "", "long": good + strings.Repeat(" ", maxTraceValue),
		"recipient": strings.Replace(good, "r="+s.Recipient("user0@example.com"), "r="+s.Recipient("user9@example.com"), 1),
		"hop over":  strings.Replace(good, "h=7", "h=99999999999", 1),
	}
	for name, text := range changed {
		if text == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, ok := s.Open(text); ok {
			t.Errorf("%s: taken as ours", name)
		}
		v := s.Check(Message{Traces: []string{text}, Recipients: addresses(1)}, 100)
		if v.Foreign != 1 || v.Hop != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// trace returns the value of our trace header of one passage.
func (s *Sealer) passage(t *testing.T, id string, hop uint32, recipients ...string) string {
	t.Helper()
	return value(t, s.Field(Trace{Instance: "n", MessageID: id, Hop: hop, Recipients: s.Recipients(recipients)}))
}

func TestL01_ReceivedFields(t *testing.T) {
	s := NewSealer(testKey(t))
	for _, tc := range []struct {
		received int
		loop     bool
	}{{0, false}, {100, false}, {101, true}} {
		v := s.Check(Message{Received: tc.received, Recipients: addresses(1)}, 100)
		d, loop := v.Refuses()
		if loop != tc.loop {
			t.Errorf("%d Received fields: %+v", tc.received, v)
		}
		if loop && (d.Name() != "L-01" || d.Reason != smtpreply.ReasonHops || d.Values() != "received=101" || d.Limit != 100) {
			t.Errorf("decision %+v", d)
		}
	}
}

func TestL04_SecondReturnIsALoopTheFirstIsNot(t *testing.T) {
	s := NewSealer(testKey(t))
	once := []string{s.passage(t, "A", 0, "list@example.com", "b@example.com")}
	twice := append(once, s.passage(t, "B", 1, "list@example.com"))
	cases := []struct {
		name    string
		traces  []string
		to      []string
		refused []int
		hop     uint32
	}{
		{"never seen", nil, []string{"list@example.com"}, nil, 0},
		{"forwarded back once", once, []string{"list@example.com"}, nil, 1},
		{"second return", twice, []string{"list@example.com"}, []int{0}, 2},
		{"only the recipient concerned", twice, []string{"b@example.com", "list@example.com", "c@example.com"}, []int{1}, 2},
		{"another member of a list", twice, []string{"member@example.net"}, nil, 2},
		{"the same header copied", append(once, once[0]), []string{"list@example.com"}, nil, 1},
		{"other case of the local part is another mailbox", twice, []string{"LIST@example.com"}, nil, 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			v := s.Check(Message{Traces: tc.traces, Recipients: tc.to}, 100)
			d, loop := v.Refuses()
			if loop != (tc.refused != nil) || fmt.Sprint(d.Recipients) != fmt.Sprint(tc.refused) || v.Hop != tc.hop {
				t.Errorf("%+v", v)
			}
			if loop && (d.Name() != "L-04" || d.Reason != smtpreply.ReasonOwnTrace || d.Value != 2 || d.Limit != 1) {
				t.Errorf("decision %+v", d)
			}
		})
	}
}

func TestL03_HopNumberGoesOnFromTheReportedMessage(t *testing.T) {
	s := NewSealer(testKey(t))
	v := s.Check(Message{Reports: true, ReportedHop: 4, Recipients: addresses(1)}, 100)
	if _, loop := v.Refuses(); loop || v.Hop != 5 {
		t.Errorf("%+v", v)
	}
	v = s.Check(Message{Reports: true, ReportedHop: 100, Recipients: addresses(1)}, 100)
	if d, loop := v.Refuses(); !loop || d.Name() != "L-03" || d.Reason != smtpreply.ReasonHops {
		t.Errorf("%+v", v)
	}
	if v := s.Check(Message{Reports: true, ReportedHop: 1<<32 - 1, Recipients: addresses(1)}, 100); v.Hop == 0 {
		t.Error("the hop number ran over")
	}
}

func TestL09_EveryRuleIsInTheVerdictAlsoWithoutALoop(t *testing.T) {
	s := NewSealer(testKey(t))
	v := s.Check(Message{Received: 3, Recipients: addresses(2)}, 100)
	got := make([]string, len(v.Decisions))
	for i, d := range v.Decisions {
		got[i] = fmt.Sprintf("%s %s limit=%d loop=%v", d.Name(), d.Values(), d.Limit, d.Loop())
	}
	want := "L-01 received=3 limit=100 loop=false|L-03 hop_number=0 limit=100 loop=false|L-04 own_trace_returns=0 limit=1 loop=false"
	if strings.Join(got, "|") != want {
		t.Errorf("got %s", strings.Join(got, "|"))
	}
}

func TestL02_Received(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 58, 0, time.FixedZone("", 3600))
	field := string(Received("node.example", "01HX0000000000000000000000", at))
	want := "Received: by node.example (Postrider, gRPC) id 01HX0000000000000000000000;\r\n\tThu, 29 Feb 2024 23:59:58 +0100\r\n"
	if field != want {
		t.Errorf("got %q", field)
	}
	if _, err := mail.ParseDate(strings.TrimSpace(field[strings.LastIndex(field, ";")+1:])); err != nil {
		t.Error(err)
	}
}

func TestKeyFile(t *testing.T) {
	key := testKey(t)
	name := filepath.Join(t.TempDir(), "key")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(key.Hex() + "\n")
	if got, err := ReadKeyFile(name); err != nil || got != key {
		t.Errorf("got %v, %v", got == key, err)
	}
	for _, bad := range []string{"", "abc", key.Hex()[2:], key.Hex() + "00", strings.Repeat("x", 64)} {
		write(bad)
		if _, err := ReadKeyFile(name); err == nil || strings.Contains(err.Error(), key.Hex()) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ReadKeyFile(name + ".missing"); err == nil {
		t.Error("a missing file is no error")
	}
	if text := fmt.Sprintf("%v %+v %#v %s", key, key, key, key); strings.Contains(text, key.Hex()[:8]) || strings.Contains(text, "0x") {
		t.Errorf("the key stands in %q", text)
	}
}

func FuzzOpen(f *testing.F) {
	s := NewSealer(Key{1})
	f.Add(value(f, s.Field(Trace{Instance: "n", MessageID: "A", Recipients: s.Recipients(addresses(3))})))
	f.Add("v=1; i=; m=; h=0; r=; d=")
	f.Add("v=1;v=1;h=-1;;=;r=,,,")
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := s.Open(text); ok {
			if again, ok := s.Open(value(t, s.Field(got))); !ok || again.Hop != got.Hop {
				t.Fatalf("%q opens as %+v, which does not", text, got)
			}
		}
	})
}

func BenchmarkCheckAndStamp(b *testing.B) {
	s := NewSealer(testKey(b))
	to := addresses(1)
	traces := []string{value(b, s.Field(Trace{Instance: "n", MessageID: "A", Recipients: s.Recipients(to)}))}
	for name, m := range map[string]Message{"new": {Received: 1, Recipients: to}, "returned": {Received: 3, Recipients: to, Traces: traces}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v := s.Check(m, 100)
				s.Field(Trace{Instance: "node.example", MessageID: "01HX0000000000000000000000", Hop: v.Hop, Recipients: s.Recipients(m.Recipients)})
			}
		})
	}
}
