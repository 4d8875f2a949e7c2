// SPDX-License-Identifier: Apache-2.0

package dnswire

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

func mxQuery() Query {
	return Query{Question: dnsquery.Question{Name: "example.test", Type: dnsquery.TypeMX}, ID: 4711, EDNS: true}
}

// response is an honest answer to q with records in master-file form in the answer section.
func response(t testing.TB, q Query, records ...string) *dns.Msg {
	t.Helper()
	wire, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var asked dns.Msg
	if err := asked.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg).SetReply(&asked)
	m.RecursionAvailable = true
	for _, r := range records {
		m.Answer = append(m.Answer, record(t, r))
	}
	return m
}

func record(t testing.TB, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func packed(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire
}

func read(t testing.TB, m *dns.Msg, q Query) *Message {
	t.Helper()
	got, err := Read(packed(t, m), q)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPackRefusesWhatIsNoName(t *testing.T) {
	q := mxQuery()
	q.Question.Name = "a..b"
	if _, err := q.Pack(); err == nil {
		t.Error("packed an empty label")
	}
}

func TestR28_QueryFlags(t *testing.T) {
	wire, err := mxQuery().Pack()
	if err != nil {
		t.Fatal(err)
	}
	var m dns.Msg
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	opt := m.IsEdns0()
	if !m.RecursionDesired || m.Id != 4711 || opt == nil || opt.UDPSize() != 1232 || !opt.Do() || m.CheckingDisabled {
		t.Errorf("%v", &m)
	}
}

func TestR23_LowestTTLOfTheChain(t *testing.T) {
	q := mxQuery()
	for _, c := range []struct {
		name    string
		records []string
		want    time.Duration
	}{
		{"one record", []string{"example.test. 300 MX 10 a.test."}, 300 * time.Second},
		{"lowest of a set", []string{"example.test. 300 MX 10 a.test.", "example.test. 60 MX 20 b.test."}, time.Minute},
		{"alias lower", []string{"example.test. 7 CNAME x.test.", "x.test. 300 MX 10 a.test."}, 7 * time.Second},
		{"target lower", []string{"example.test. 300 CNAME x.test.", "x.test. 9 MX 10 a.test."}, 9 * time.Second},
		{"strange record lower", []string{"example.test. 300 MX 10 a.test.", "other.test. 1 MX 10 a.test."}, 300 * time.Second},
		{"zero", []string{"example.test. 0 MX 10 a.test."}, 0},
		{"top bit", []string{"example.test. 2147483648 MX 10 a.test."}, 0},
		{"all bits", []string{"example.test. 4294967295 MX 10 a.test."}, 0},
		{"highest", []string{"example.test. 2147483647 MX 10 a.test."}, 2147483647 * time.Second},
	} {
		if a := read(t, response(t, q, c.records...), q).Answer; a.TTL != c.want || len(a.MX) == 0 {
			t.Errorf("%s: %+v, want TTL %s", c.name, a, c.want)
		}
	}
}

func TestR24_LifetimeOfAbsence(t *testing.T) {
	q := mxQuery()
	for _, c := range []struct {
		name, soa string
		want      time.Duration
	}{
		{"minimum lower", "test. 600 SOA ns.test. h.test. 1 2 3 4 60", time.Minute},
		{"TTL lower", "test. 30 SOA ns.test. h.test. 1 2 3 4 60", 30 * time.Second},
		{"no SOA", "", 0},
		{"SOA of another zone", "other. 600 SOA ns.other. h.other. 1 2 3 4 60", 0},
		{"top bit", "test. 600 SOA ns.test. h.test. 1 2 3 4 4294967295", 0},
	} {
		for _, rcode := range []int{dns.RcodeSuccess, dns.RcodeNameError} {
			m := response(t, q)
			m.Rcode = rcode
			if c.soa != "" {
				m.Ns = append(m.Ns, record(t, c.soa))
			}
			got := read(t, m, q)
			if got.Answer.TTL != c.want || got.Answer.NoName != (rcode == dns.RcodeNameError) || got.Unproven != (c.want == 0 && rcode == dns.RcodeSuccess && c.name != "top bit") {
				t.Errorf("%s, rcode %d: %+v, unproven %t", c.name, rcode, got.Answer, got.Unproven)
			}
		}
	}
}

func TestR12_ChainInOneMessage(t *testing.T) {
	q := mxQuery()
	a := read(t, response(t, q, "y.test. 60 MX 5 a.test.", "X.test. 60 CNAME y.TEST.", "example.test. 60 CNAME x.test."), q).Answer
	if a.Name != "y.test" || a.Steps != 2 || len(a.MX) != 1 {
		t.Errorf("%+v", a)
	}
	a = read(t, response(t, q, "example.test. 60 CNAME x.test."), q).Answer
	if !a.Open || a.Name != "x.test" || a.TTL != time.Minute {
		t.Errorf("%+v, want an open end", a)
	}
}

func TestR13_ChainLength(t *testing.T) {
	q := mxQuery()
	chain := func(n int) *dns.Msg {
		m := response(t, q)
		name := "example.test."
		for i := range n {
			next := fmt.Sprintf("x%d.test.", i)
			m.Answer = append(m.Answer, record(t, name+" 60 CNAME "+next))
			name = next
		}
		m.Answer = append(m.Answer, record(t, name+" 60 MX 10 a.test."))
		return m
	}
	if got := read(t, chain(10), q); got.Loop || got.Answer.Steps != 10 || len(got.Answer.MX) != 1 {
		t.Errorf("10 aliases: %+v", got)
	}
	if got := read(t, chain(11), q); !got.Loop || got.Answer != nil {
		t.Errorf("11 aliases: %+v, want a loop", got)
	}
}

func TestReadRecordsOfEachType(t *testing.T) {
	for _, c := range []struct {
		typ    dnsquery.Type
		record string
		want   string
	}{
		{dnsquery.TypeA, "example.test. 60 A 192.0.2.1", "192.0.2.1"},
		{dnsquery.TypeAAAA, "example.test. 60 AAAA 2001:db8::1", "2001:db8::1"},
		{dnsquery.TypeTXT, `example.test. 60 TXT "v=STSv1; " "id=1;"`, "v=STSv1; id=1;"},
		{dnsquery.TypeMX, "example.test. 60 MX 0 .", ""},
		{dnsquery.TypeMX, "example.test. 60 MX 0 Mail.Example.TEST.", "mail.example.test"},
		{dnsquery.TypeTLSA, "example.test. 60 TLSA 3 1 1 00ff", "[{3 1 1 [0 255]}]"},
	} {
		q := Query{Question: dnsquery.Question{Name: "example.test", Type: c.typ}}
		a := read(t, response(t, q, c.record), q).Answer
		got := ""
		switch {
		case len(a.Addrs) > 0:
			got = a.Addrs[0].String()
		case len(a.TXT()) > 0:
			got = a.TXT()[0]
		case len(a.MX) > 0:
			got = a.MX[0].Host
		case len(a.TLSA()) > 0:
			got = fmt.Sprint(a.TLSA())
		}
		if a.Empty() || got != c.want {
			t.Errorf("%s: %+v, want %q", c.record, a, c.want)
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	q := mxQuery()
	whole := packed(t, response(t, q, "example.test. 60 MX 10 a.test."))
	question := len(packed(t, response(t, q)))
	for n := question; n < len(whole); n++ {
		var malformed *MalformedError
		if _, err := Read(whole[:n], q); !errors.As(err, &malformed) {
			t.Errorf("%d of %d octets: %v, want a *MalformedError", n, len(whole), err)
		}
	}
	for n := range headerSize {
		if _, err := Read(whole[:n], q); !errors.Is(err, ErrForeign) {
			t.Errorf("%d octets: %v, want ErrForeign", n, err)
		}
	}
}

func TestResponseCodes(t *testing.T) {
	q := mxQuery()
	for rcode, want := range map[int]dnsquery.Result{
		dns.RcodeServerFailure: dnsquery.ResultServFail, dns.RcodeRefused: dnsquery.ResultDenied, dns.RcodeNotAuth: dnsquery.ResultDenied,
		dns.RcodeFormatError: dnsquery.ResultNoEDNS, dns.RcodeNotImplemented: dnsquery.ResultNoEDNS, dns.RcodeBadVers: dnsquery.ResultNoEDNS,
	} {
		m := response(t, q)
		m.SetEdns0(1232, true)
		m.Rcode = rcode
		if got := read(t, m, q); got.Result != want || got.Rcode != rcode {
			t.Errorf("rcode %d: %s, want %s", rcode, got.Result, want)
		}
	}
}

func TestExtendedError(t *testing.T) {
	q := mxQuery()
	m := response(t, q)
	m.Rcode = dns.RcodeServerFailure
	m.SetEdns0(1232, true)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus})
	if got := read(t, m, q); got.EDNSError != int(dns.ExtendedErrorCodeDNSBogus) || got.RcodeName() != "SERVFAIL" {
		t.Errorf("%+v", got)
	}
}

// FuzzRead checks that no message can make it panic, loop, or give records of a name outside the alias chain.
func FuzzRead(f *testing.F) {
	q := mxQuery()
	for _, records := range [][]string{
		{"example.test. 60 MX 10 a.test."},
		{"example.test. 60 CNAME x.test.", "x.test. 60 MX 10 a.test."},
		{"example.test. 60 CNAME example.test."},
		{"other.test. 60 MX 0 ."},
		{`example.test. 60 TXT "v=STSv1; id=1"`, "example.test. 60 TLSA 3 1 1 00"},
	} {
		m := response(f, q, records...)
		m.Ns = append(m.Ns, record(f, "test. 600 SOA ns.test. h.test. 1 2 3 4 60"))
		m.Compress = true
		f.Add(packed(f, m), uint16(dnsquery.TypeMX))
	}
	f.Fuzz(func(t *testing.T, wire []byte, typ uint16) {
		q := mxQuery()
		q.Question.Type = dnsquery.Type(typ)
		m, err := Read(wire, q)
		if err != nil {
			var malformed *MalformedError
			if m != nil || !errors.Is(err, ErrForeign) && !errors.As(err, &malformed) {
				t.Fatalf("message %+v, error %v", m, err)
			}
			return
		}
		if m.Result == "" || m.Result == dnsquery.ResultAnswered && !m.Loop && m.Answer == nil {
			t.Fatalf("%+v", m)
		}
		if a := m.Answer; a != nil && (a.Steps > dnsquery.MaxAliases || a.TTL < 0 || a.Steps == 0 && a.Name != "example.test") {
			t.Fatalf("%+v", a)
		}
	})
}
