// SPDX-License-Identifier: Apache-2.0

package enqueue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postrider/postrider/kit/mailaddr"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/gateway/internal/content"
	"github.com/postrider/postrider/services/gateway/internal/envelope"
)

// to returns recipients as the envelope check gives them.
func to(t testing.TB, addresses ...string) []envelope.Recipient {
	t.Helper()
	list := make([]envelope.Recipient, len(addresses))
	for i, text := range addresses {
		a, err := mailaddr.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		list[i] = envelope.Recipient{Address: a, Destination: a.Destination(), Index: uint32(i)}
	}
	return list
}

func many(t testing.TB, n int, domain string) []string {
	t.Helper()
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("user%d@", i) + strings.ReplaceAll(domain, "*", fmt.Sprint(i))
	}
	return list
}

func TestSplitByDestination(t *testing.T) {
	cases := []struct {
		name string
		to   []string
		want string
	}{
		{"one", []string{"a@example.com"}, "example.com:1"},
		{"same domain, other case", []string{"a@example.com", "b@EXAMPLE.com"}, "example.com:2"},
		{"two domains in turn", []string{"a@x.example", "a@y.example", "b@x.example"}, "x.example:2 y.example:1"},
		{"literal", []string{"a@[192.0.2.1]", "a@[IPv6:2001:DB8::1]", "b@[IPv6:2001:db8:0::1]"}, "[192.0.2.1]:1 [IPv6:2001:db8::1]:2"},
		{"IDN", []string{"a@bücher.example", "a@xn--bcher-kva.example"}, "xn--bcher-kva.example:2"},
		{"a hundred in a record", many(t, 250, "example.com"), "example.com:100 example.com:100 example.com:50"},
		{"exactly a hundred", many(t, 100, "example.com"), "example.com:100"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			seen := map[uint32]bool{}
			for _, p := range split(to(t, tc.to...)) {
				got = append(got, fmt.Sprintf("%s:%d", p.destination, len(p.recipients)))
				for _, r := range p.recipients {
					if seen[r.Index] || r.Destination != p.destination {
						t.Errorf("recipient %d twice or in the wrong part", r.Index)
					}
					seen[r.Index] = true
				}
			}
			if strings.Join(got, " ") != tc.want || len(seen) != len(tc.to) {
				t.Errorf("got %v with %d recipients", got, len(seen))
			}
		})
	}
}

func TestInlineLimit(t *testing.T) {
	for parts, want := range map[int]int{0: 64 << 10, 1: 64 << 10, 16: 64 << 10, 17: (1 << 20) / 17, 1000: 1048} {
		if got := InlineLimit(parts); got != want {
			t.Errorf("%d parts: %d, want %d", parts, got, want)
		}
	}
}

func TestRecordsCarryEverything(t *testing.T) {
	at := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	sender, _ := mailaddr.Parse("a@example.org")
	recipients := to(t, "b@x.example", "ö@y.example", "c@x.example")
	recipients[0].Notify = []eventv1.Notify{eventv1.Notify_NOTIFY_FAILURE}
	recipients[0].OrcptType, recipients[0].OrcptAddress = "rfc822", "old@x.example"
	m := &Message{
		ID: "01HX0000000000000000000000", AcceptedAt: at, Caller: "shop", Loop: &eventv1.LoopTrace{HopNumber: 3}, MessageIDHeader: "<1@example.org>",
		Envelope: &envelope.Envelope{
			Sender: sender, Recipients: recipients, Tenant: "t", EnvID: "E", Tag: "g", ReportsOn: "R", Key: "k",
			Priority: eventv1.Priority_PRIORITY_BULK, Ret: eventv1.Ret_RET_FULL, RequireTLS: true, NotBefore: at.Add(time.Hour),
		},
		Facts:       content.Facts{Size: 11, HeaderSize: 7, PrependedSize: 2, DotLines: true, EightBit: true, SHA256: [32]byte{1}},
		TLSOptional: true, KeyHash: []byte{1}, Digest: []byte{2}, Inline: []byte("From: a\r\n\r\n"),
	}
	frames, err := m.records(&eventv1.TraceContext{Traceparent: "tp"})
	if err != nil || len(frames) != 2 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	first, err := frames[0].Mail()
	if err != nil {
		t.Fatal(err)
	}
	if string(frames[0].Content) != string(m.Inline) || string(frames[1].Content) != string(m.Inline) {
		t.Error("the content does not stand behind each record")
	}
	if first.GetPart() != 1 || first.GetParts() != 2 || first.GetDestination() != "x.example" || first.GetCaller() != "shop" ||
		!first.GetAcceptedAt().AsTime().Equal(at) || !first.GetNotBefore().AsTime().Equal(at.Add(time.Hour)) ||
		first.GetLoop().GetHopNumber() != 3 || first.GetTrace().GetTraceparent() != "tp" || first.GetReportsOn() != "R" {
		t.Errorf("record %v", first)
	}
	want := &eventv1.Envelope{
		Sender: "a@example.org", Ret: eventv1.Ret_RET_FULL, Envid: "E", RequireTls: true, EightBit: true, TlsOptional: true,
		Recipients: []*eventv1.Recipient{
			{Address: "b@x.example", Notify: []eventv1.Notify{eventv1.Notify_NOTIFY_FAILURE}, OrcptType: "rfc822", OrcptAddress: "old@x.example"},
			{Address: "c@x.example", Index: 2},
		},
	}
	if !proto.Equal(first.GetEnvelope(), want) {
		t.Errorf("envelope %v", first.GetEnvelope())
	}
	second, err := frames[1].Mail()
	if err != nil || !second.GetEnvelope().GetSmtputf8() || first.GetEnvelope().GetSmtputf8() {
		t.Errorf("SMTPUTF8 is a need of the second record alone: %v, %v", second.GetEnvelope(), err)
	}
	c := first.GetContent()
	if c.GetSize() != 11 || c.GetHeaderSize() != 7 || c.GetPrependedSize() != 2 || !c.GetDotLines() || c.GetBodyRef() != "" ||
		c.GetMessageIdHeader() != "<1@example.org>" || c.GetSha256()[0] != 1 {
		t.Errorf("content %v", c)
	}
	m.BodyRef = "file:x"
	frames, err = m.records(nil)
	if err != nil || len(frames[0].Content) != 0 {
		t.Errorf("content stands behind a record whose body is in the store: %v", err)
	}
}
