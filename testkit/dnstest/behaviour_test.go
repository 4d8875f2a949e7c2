// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const pause = 50 * time.Millisecond // how long a test listens where nothing shall come

var mx = Match{Name: "Example.test", Type: dns.TypeMX}

// datagrams sends one query and reads n answers as they come, with their source ports.
func datagrams(t *testing.T, s *Server, q *dns.Msg, n int) (all []*dns.Msg, ports []uint16) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteToUDPAddrPort(b, s.Addr()); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for range n {
		buf := make([]byte, 65535)
		got, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		r := new(dns.Msg)
		if err := r.Unpack(buf[:got]); err != nil {
			t.Fatal(err)
		}
		all, ports = append(all, r), append(ports, from.Port())
	}
	return all, ports
}

func TestReplyBehaviours(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		b    Behaviour
		ok   func(q, r *dns.Msg) bool
	}{
		{"servfail", RCode(dns.RcodeServerFailure), func(_, r *dns.Msg) bool {
			return r.Rcode == dns.RcodeServerFailure && len(r.Answer)+len(r.Ns) == 0
		}},
		{"truncate", Truncate, func(_, r *dns.Msg) bool { return r.Truncated && len(r.Answer) == 0 }},
		{"truncate partly", TruncatePartly, func(_, r *dns.Msg) bool { return r.Truncated && len(r.Answer) == 1 }},
		{"wrong id", WrongID, func(q, r *dns.Msg) bool { return r.Id != q.Id && len(r.Answer) == 2 }},
		{"wrong question", WrongQuestion, func(_, r *dns.Msg) bool { return r.Question[0].Name == "wrong.example.test." }},
		{"wrong type", WrongType, func(_, r *dns.Msg) bool { return r.Question[0].Qtype == dns.TypeMX+1 }},
		{"no question", NoQuestion, func(_, r *dns.Msg) bool { return len(r.Question) == 0 }},
		{"query bit", QueryBit, func(_, r *dns.Msg) bool { return !r.Response }},
		{"lame", Lame, func(_, r *dns.Msg) bool {
			return !r.RecursionAvailable && !r.Authoritative && len(r.Answer) == 0 && r.Rcode == 0 &&
				short(r.Ns) == "test. 3600 IN NS ns.elsewhere.test."
		}},
		{"no EDNS", NoEDNS(dns.RcodeFormatError), func(_, r *dns.Msg) bool {
			return r.Rcode == dns.RcodeFormatError && r.IsEdns0() == nil
		}},
		{"bad version", BadVers, func(_, r *dns.Msg) bool { return r.Rcode == dns.RcodeBadVers }},
		{"ignore EDNS", IgnoreEDNS, func(_, r *dns.Msg) bool { return r.IsEdns0() == nil && len(r.Answer) == 2 }},
		{"AD", AuthenticData, func(_, r *dns.Msg) bool { return r.AuthenticatedData && len(r.Answer) == 2 }},
		{"bogus", Bogus, func(_, r *dns.Msg) bool { return r.Rcode == dns.RcodeServerFailure }},
		{"surplus", Surplus("evil.test A 127.6.6.6"), func(_, r *dns.Msg) bool {
			return len(r.Answer) == 3 && short(r.Answer[2:]) == "evil.test. 60 IN A 127.6.6.6"
		}},
		{"additional", Additional("mx1.example.test A 127.6.6.6"), func(_, r *dns.Msg) bool {
			return len(r.Extra) == 2 && short(r.Extra[1:]) == "mx1.example.test. 60 IN A 127.6.6.6"
		}},
		{"slow", Slow(time.Millisecond), func(_, r *dns.Msg) bool { return len(r.Answer) == 2 }},
		{"hook", func(x *Exchange) { x.Reply.Answer[0].Header().Ttl = 1 << 31 }, func(_, r *dns.Msg) bool {
			return r.Answer[0].Header().Ttl == 1<<31
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := Start(t, zone)
			s.SetBehaviour(mx, tc.b)
			q := query("example.test", dns.TypeMX)
			rs, _ := datagrams(t, s, q, 1)
			if !tc.ok(q, rs[0]) {
				t.Errorf("UDP: %v", rs[0])
			}
			if tc.name != "wrong id" { // the client used here refuses it
				if r := ask(t, s, TCP, q); !tc.ok(q, r) {
					t.Errorf("TCP: %v", r)
				}
			}
			s.ClearBehaviour()
			rs, _ = datagrams(t, s, q, 1)
			if len(rs[0].Answer) != 2 || rs[0].Rcode != 0 || rs[0].Answer[0].Header().Ttl != 60 {
				t.Errorf("honest again: %v", rs[0])
			}
		})
	}
}

func TestNoSOA(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(Match{Name: "nowhere.example.test"}, NoSOA)
	if r := ask(t, s, UDP, query("nowhere.example.test", dns.TypeA)); r.Rcode != dns.RcodeNameError || len(r.Ns) != 0 {
		t.Errorf("%v", r)
	}
}

func TestEDNSBehavioursSparePlainQueries(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]Behaviour{
		"FORMERR": NoEDNS(dns.RcodeFormatError), "NOTIMP": NoEDNS(dns.RcodeNotImplemented),
		"BADVERS": BadVers, "dropped": DropEDNS,
	} {
		s := Start(t, zone)
		s.SetBehaviour(Match{}, b)
		r := ask(t, s, UDP, new(dns.Msg).SetQuestion("example.test.", dns.TypeMX))
		if r.Rcode != dns.RcodeSuccess || len(r.Answer) != 2 {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestSilences(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]Behaviour{"drop": Drop, "hang": Hang, "EDNS": DropEDNS} {
		s := Start(t, zone)
		s.SetBehaviour(Match{}, b)
		for _, tr := range []Transport{UDP, TCP} {
			if _, err := try(s, tr, query("example.test", dns.TypeMX), pause); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s over %s: %v, want a timeout", name, tr, err)
			}
		}
		if n := s.Count("example.test", dns.TypeMX); n != 2 {
			t.Errorf("%s: %d queries seen", name, n)
		}
	}
}

func TestDropLeavesTheConnection(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(mx, First(1, Drop))
	c, err := dns.DialTimeout("tcp", s.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.WriteMsg(query("example.test", dns.TypeMX)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := new(dns.Client).ExchangeWithConn(query("example.test", dns.TypeMX), c); err != nil {
		t.Errorf("second query: %v", err)
	}
}

func TestResetAndClose(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		b    Behaviour
		want error
	}{"reset": {Reset, syscall.ECONNRESET}, "close": {CloseConn, io.EOF}, "half a frame": {CutFrame, io.ErrUnexpectedEOF}} {
		s := Start(t, zone)
		s.SetBehaviour(Match{Transport: TCP}, tc.b)
		if _, err := try(s, TCP, query("example.test", dns.TypeMX), patience); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		ask(t, s, UDP, query("example.test", dns.TypeMX))
	}
}

func TestForged(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(mx, Forged("example.test MX 0 evil.test"))
	q := query("example.test", dns.TypeMX)
	rs, ports := datagrams(t, s, q, 2)
	if rs[0].Id == q.Id || short(rs[0].Answer) != "example.test. 60 IN MX 0 evil.test." || ports[0] != s.Addr().Port() {
		t.Errorf("forged answer %v from port %d", rs[0], ports[0])
	}
	if rs[1].Id != q.Id || len(rs[1].Answer) != 2 {
		t.Errorf("honest answer %v", rs[1])
	}
}

func TestForgedElsewhere(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(mx, ForgedElsewhere("example.test MX 0 evil.test"))
	q := query("example.test", dns.TypeMX)
	rs, ports := datagrams(t, s, q, 2)
	for i, r := range rs { // the two sockets may overtake each other
		forged := short(r.Answer) == "example.test. 60 IN MX 0 evil.test."
		if r.Id != q.Id || forged == (ports[i] == s.Addr().Port()) {
			t.Errorf("answer %v from port %d", r, ports[i])
		}
	}
}

func TestOtherPort(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(mx, OtherPort)
	rs, ports := datagrams(t, s, query("example.test", dns.TypeMX), 1)
	if ports[0] == s.Addr().Port() || len(rs[0].Answer) != 2 {
		t.Errorf("answer %v from port %d", rs[0], ports[0])
	}
	if _, err := try(s, TCP, query("example.test", dns.TypeMX), pause); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("TCP: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]Behaviour{"malformed": Malformed, "garbage": Garbage} {
		s := Start(t, zone)
		s.SetBehaviour(Match{}, b)
		q := query("example.test", dns.TypeMX)
		for _, tr := range []Transport{UDP, TCP} {
			c, err := net.Dial(string(tr), s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			out, err := q.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if tr == TCP {
				out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
			}
			if _, err := c.Write(out); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			in := make([]byte, 1000)
			n, err := c.Read(in)
			if err != nil {
				t.Fatal(err)
			}
			in = in[:n]
			if tr == TCP {
				in = in[2:]
			}
			if err := new(dns.Msg).Unpack(in); err == nil {
				t.Errorf("%s over %s: % x is well-formed", name, tr, in)
			}
			if name == "malformed" && binary.BigEndian.Uint16(in) != q.Id {
				t.Errorf("%s over %s: wrong id", name, tr)
			}
			_ = c.Close()
		}
	}
}

func TestOversized(t *testing.T) {
	t.Parallel()
	text := ""
	for i := range 40 {
		text += "big.test TXT \"" + string(rune('a'+i%26)) + "0123456789012345678901234567890123456789\"\n"
	}
	s := Start(t, text)
	s.SetBehaviour(Match{}, Oversized)
	rs, _ := datagrams(t, s, new(dns.Msg).SetQuestion("big.test.", dns.TypeTXT), 1)
	if rs[0].Truncated || rs[0].Len() <= plainSize {
		t.Errorf("TC %v, %d octets", rs[0].Truncated, rs[0].Len())
	}
}

func TestBogusWithCD(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(Match{}, Bogus)
	q := query("example.test", dns.TypeMX)
	q.CheckingDisabled = true
	if r := ask(t, s, UDP, q); r.Rcode != 0 || len(r.Answer) != 2 || !r.CheckingDisabled {
		t.Errorf("%v", r)
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(mx, First(2, RCode(dns.RcodeServerFailure)))
	for i, want := range []int{dns.RcodeServerFailure, dns.RcodeServerFailure, dns.RcodeSuccess} {
		if r := ask(t, s, UDP, query("example.test", dns.TypeMX)); r.Rcode != want {
			t.Errorf("query %d: rcode %d, want %d", i, r.Rcode, want)
		}
	}
}

func TestLatestRuleWins(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	rcode := func(tr Transport, name string) int { return ask(t, s, tr, query(name, dns.TypeMX)).Rcode }
	s.SetBehaviour(Match{}, RCode(dns.RcodeServerFailure))
	s.SetBehaviour(mx, RCode(dns.RcodeRefused))
	s.SetBehaviour(Match{Transport: TCP, Name: "null.example.test"})
	for _, tc := range []struct {
		tr   Transport
		name string
		want int
	}{
		{UDP, "example.test", dns.RcodeRefused},
		{TCP, "example.test", dns.RcodeRefused},
		{UDP, "null.example.test", dns.RcodeServerFailure},
		{TCP, "null.example.test", dns.RcodeSuccess},
	} {
		if got := rcode(tc.tr, tc.name); got != tc.want {
			t.Errorf("%s %s: %d, want %d", tc.tr, tc.name, got, tc.want)
		}
	}
	s.SetBehaviour(mx)
	if got := rcode(UDP, "example.test"); got != dns.RcodeSuccess {
		t.Errorf("after an empty rule: %d", got)
	}
}

func TestCloseInterruptsSlow(t *testing.T) {
	t.Parallel()
	s, err := StartServer(Options{Zone: Parse(t, zone)})
	if err != nil {
		t.Fatal(err)
	}
	s.SetBehaviour(Match{}, Slow(time.Hour))
	go func() { _, _ = try(s, UDP, query("example.test", dns.TypeMX), pause) }()
	if _, err := s.WaitQueries(t.Context(), Match{}, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestUnpackableReplyIsAFault(t *testing.T) {
	t.Parallel()
	s, err := StartServer(Options{Zone: Parse(t, zone)})
	if err != nil {
		t.Fatal(err)
	}
	long := dns.Fqdn(strings.Repeat("x", 64) + ".test") // a label has at most 63 octets
	s.SetBehaviour(Match{}, func(x *Exchange) { x.Reply.Question[0].Name = long })
	if _, err := try(s, UDP, query("example.test", dns.TypeMX), pause); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	for _, b := range []Behaviour{OtherPort, CutFrame, Malformed} {
		s.SetBehaviour(Match{}, func(x *Exchange) { x.Reply.Question[0].Name = long; b(x) })
		if _, err := try(s, UDP, query("example.test", dns.TypeMX), pause); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	if err := s.Close(); err == nil || strings.Count(err.Error(), "pack") < 4 {
		t.Errorf("Close: %v", err)
	}
}

func TestHalfAMessageOverUDP(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	s.SetBehaviour(mx, CutFrame)
	if r, err := try(s, UDP, query("example.test", dns.TypeMX), patience); err == nil {
		t.Errorf("half a message is well-formed: %v", r)
	}
}

func TestBrokenRecordsPanic(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "example.test MX ten mx1"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", text)
				}
			}()
			Surplus(text)
		}()
	}
}
