// SPDX-License-Identifier: Apache-2.0

package dnstest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

const patience = 30 * time.Second

const zone = `
	example.test.      300 IN SOA ns.example.test. hostmaster.example.test. 7 3600 600 86400 30
	example.test.      60  IN MX  10 mx1.example.test.
	example.test           MX  20 mx2.example.test
	mx1.example.test       A    127.0.0.2
	mx1.example.test       AAAA ::1
	mx2.example.test   IN  A    127.0.0.3
	alias.example.test     CNAME example.test
	chain.example.test     CNAME alias.example.test
	dangling.example.test  CNAME nowhere.example.test
	loop.example.test      CNAME pool.example.test
	pool.example.test      CNAME loop.example.test
	deep.sub.example.test  TXT  "x"
	*.wild.example.test    A    127.0.0.9
	null.example.test      MX   0 .
	other.test             A    127.0.0.4
`

func query(name string, typ uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), typ).SetEdns0(1232, true)
}

// ask makes one exchange and wants an answer.
func ask(t *testing.T, s *Server, tr Transport, q *dns.Msg) *dns.Msg {
	t.Helper()
	r, err := try(s, tr, q, patience)
	if err != nil {
		t.Fatalf("%s %s: %v", tr, q.Question[0].String(), err)
	}
	return r
}

func try(s *Server, tr Transport, q *dns.Msg, limit time.Duration) (*dns.Msg, error) {
	c := &dns.Client{Net: string(tr), Timeout: limit}
	r, _, err := c.Exchange(q, s.Addr().String())
	return r, err
}

func short(rrs []dns.RR) string {
	var all []string
	for _, rr := range rrs {
		all = append(all, strings.Join(strings.Fields(rr.String()), " "))
	}
	return strings.Join(all, "; ")
}

func TestHonestAnswers(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	const soa = "example.test. 30 IN SOA ns.example.test. hostmaster.example.test. 7 3600 600 86400 30"
	for _, tc := range []struct {
		name   string
		typ    uint16
		rcode  int
		answer string
		ns     string
	}{
		{
			"example.test", dns.TypeMX, dns.RcodeSuccess,
			"example.test. 60 IN MX 10 mx1.example.test.; example.test. 60 IN MX 20 mx2.example.test.", "",
		},
		{
			"EXAMPLE.test", dns.TypeMX, dns.RcodeSuccess,
			"example.test. 60 IN MX 10 mx1.example.test.; example.test. 60 IN MX 20 mx2.example.test.", "",
		},
		{"example.test", dns.TypeA, dns.RcodeSuccess, "", soa},
		{"mx1.example.test", dns.TypeAAAA, dns.RcodeSuccess, "mx1.example.test. 60 IN AAAA ::1", ""},
		{"nowhere.example.test", dns.TypeA, dns.RcodeNameError, "", soa},
		{"sub.example.test", dns.TypeMX, dns.RcodeSuccess, "", soa}, // an empty non-terminal exists
		{"a.mx1.example.test", dns.TypeA, dns.RcodeNameError, "", soa},
		{
			"chain.example.test", dns.TypeMX, dns.RcodeSuccess,
			"chain.example.test. 60 IN CNAME alias.example.test.; alias.example.test. 60 IN CNAME example.test.; " +
				"example.test. 60 IN MX 10 mx1.example.test.; example.test. 60 IN MX 20 mx2.example.test.", "",
		},
		{"alias.example.test", dns.TypeCNAME, dns.RcodeSuccess, "alias.example.test. 60 IN CNAME example.test.", ""},
		{"alias.example.test", dns.TypeA, dns.RcodeSuccess, "alias.example.test. 60 IN CNAME example.test.", soa},
		{
			"dangling.example.test", dns.TypeA, dns.RcodeNameError,
			"dangling.example.test. 60 IN CNAME nowhere.example.test.", soa,
		},
		{
			"loop.example.test", dns.TypeA, dns.RcodeSuccess,
			"loop.example.test. 60 IN CNAME pool.example.test.; pool.example.test. 60 IN CNAME loop.example.test.", "",
		},
		{"x.wild.example.test", dns.TypeA, dns.RcodeSuccess, "x.wild.example.test. 60 IN A 127.0.0.9", ""},
		{"x.wild.example.test", dns.TypeMX, dns.RcodeSuccess, "", soa},
		{"null.example.test", dns.TypeMX, dns.RcodeSuccess, "null.example.test. 60 IN MX 0 .", ""},
		{
			"other.test", dns.TypeMX, dns.RcodeSuccess, "",
			"test. 60 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60",
		},
		{
			"nothing.invalid", dns.TypeA, dns.RcodeNameError, "",
			"invalid. 60 IN SOA ns.invalid. hostmaster.invalid. 1 3600 600 86400 60",
		},
	} {
		for _, tr := range []Transport{UDP, TCP} {
			r := ask(t, s, tr, query(tc.name, tc.typ))
			if r.Rcode != tc.rcode || short(r.Answer) != tc.answer || short(r.Ns) != tc.ns {
				t.Errorf("%s %s/%s: %s\nanswer %s\nns %s", tr, tc.name, dns.TypeToString[tc.typ],
					dns.RcodeToString[r.Rcode], short(r.Answer), short(r.Ns))
			}
			if !r.RecursionAvailable || r.Authoritative || r.AuthenticatedData || !r.RecursionDesired {
				t.Errorf("%s %s: flags %+v", tr, tc.name, r.MsgHdr)
			}
			if opt := r.IsEdns0(); opt == nil || !opt.Do() || opt.UDPSize() != ednsSize {
				t.Errorf("%s %s: OPT %v", tr, tc.name, opt)
			}
		}
	}
}

func TestEmptyZone(t *testing.T) {
	t.Parallel()
	s, err := StartServer(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r := ask(t, s, UDP, query("a.b.c", dns.TypeA)); r.Rcode != dns.RcodeNameError {
		t.Errorf("rcode %d", r.Rcode)
	}
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	s, err := StartServer(Options{Addr: netip.MustParseAddrPort("[::1]:0"), Zone: Parse(t, zone)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, tr := range []Transport{UDP, TCP} {
		if r := ask(t, s, tr, query("example.test", dns.TypeMX)); len(r.Answer) != 2 {
			t.Errorf("%s: %v", tr, r)
		}
		if err := s.Refuse(tr); err != nil {
			t.Fatal(err)
		}
		if _, err := try(s, tr, query("example.test", dns.TypeMX), patience); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s refused: %v", tr, err)
		}
	}
}

func TestParseZoneError(t *testing.T) {
	t.Parallel()
	if _, err := ParseZone("example.test MX ten mx1"); err == nil {
		t.Error("a broken record was taken")
	}
}

func TestOddQueries(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	q := query("example.test", dns.TypeMX)
	q.Question[0].Qclass = dns.ClassCHAOS
	if r := ask(t, s, UDP, q); r.Rcode != dns.RcodeRefused {
		t.Errorf("class CHAOS: rcode %d", r.Rcode)
	}
	q = query("example.test", dns.TypeMX)
	q.Opcode = dns.OpcodeNotify
	if r := ask(t, s, UDP, q); r.Rcode != dns.RcodeNotImplemented {
		t.Errorf("NOTIFY: rcode %d", r.Rcode)
	}
	q = query("example.test", dns.TypeMX)
	q.IsEdns0().SetVersion(1)
	if r := ask(t, s, UDP, q); r.Rcode != dns.RcodeBadVers {
		t.Errorf("EDNS version 1: rcode %d", r.Rcode)
	}
}

func TestTruncation(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 60 {
		text.WriteString("big.test TXT \"" + strings.Repeat("x", i) + "\"\n")
	}
	s := Start(t, text.String())
	plain := new(dns.Msg).SetQuestion("big.test.", dns.TypeTXT)
	for name, q := range map[string]*dns.Msg{"512": plain, "1232": query("big.test", dns.TypeTXT)} {
		if r := ask(t, s, UDP, q); !r.Truncated || len(r.Answer) >= 60 {
			t.Errorf("size %s: TC %v, %d records", name, r.Truncated, len(r.Answer))
		}
	}
	if r := ask(t, s, TCP, query("big.test", dns.TypeTXT)); r.Truncated || len(r.Answer) != 60 {
		t.Errorf("TCP: TC %v, %d records", r.Truncated, len(r.Answer))
	}
	wide := new(dns.Msg).SetQuestion("big.test.", dns.TypeTXT).SetEdns0(8192, false)
	if r := ask(t, s, UDP, wide); r.Truncated || len(r.Answer) != 60 {
		t.Errorf("UDP with 8192: TC %v, %d records", r.Truncated, len(r.Answer))
	}
}

func TestQueriesAreKept(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	q := query("Example.test", dns.TypeMX)
	q.CheckingDisabled = true
	ask(t, s, UDP, q)
	ask(t, s, TCP, new(dns.Msg).SetQuestion("mx1.example.test.", dns.TypeA))
	if s.Count("example.test", dns.TypeMX) != 1 || s.Count("example.test.", dns.TypeA) != 0 || s.Connections() != 1 {
		t.Errorf("queries %+v", s.Queries(Match{}))
	}
	got := s.Queries(Match{})[0]
	if got.Transport != UDP || got.Name != "Example.test." || got.ID != q.Id || !got.EDNS || !got.DO || !got.CD ||
		!got.RD || got.UDPSize != 1232 || got.Source.Port() == 0 || got.At.IsZero() {
		t.Errorf("query %+v", got)
	}
	got = s.Queries(Match{Transport: TCP})[0]
	if got.EDNS || got.UDPSize != 0 || got.Conn != 1 {
		t.Errorf("query %+v", got)
	}
	s.ForgetQueries()
	if len(s.Queries(Match{})) != 0 {
		t.Error("queries are still there")
	}
}

func TestWaitQueries(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	answered := make(chan error, 1)
	go func() {
		_, err := try(s, UDP, query("example.test", dns.TypeMX), patience)
		answered <- err
	}()
	got, err := s.WaitQueries(t.Context(), Match{Type: dns.TypeMX}, 1)
	if err != nil || len(got) != 1 {
		t.Errorf("%d queries, %v", len(got), err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.WaitQueries(ctx, Match{Type: dns.TypeA}, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSetZoneWhileAsked(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				r := ask(t, s, UDP, query("other.test", dns.TypeA))
				if len(r.Answer) != 1 {
					t.Errorf("answer %v", r.Answer)
				}
			}
		})
	}
	for range 50 {
		s.SetZone(Parse(t, "other.test A 127.0.0.5"))
		s.SetBehaviour(Match{Name: "x.test"}, Drop)
	}
	wg.Wait()
	if r := ask(t, s, UDP, query("other.test", dns.TypeA)); short(r.Answer) != "other.test. 60 IN A 127.0.0.5" {
		t.Errorf("answer %s", short(r.Answer))
	}
}

func TestRefuseAndAccept(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	q := query("example.test", dns.TypeMX)
	for _, tr := range []Transport{UDP, TCP} {
		other := map[Transport]Transport{UDP: TCP, TCP: UDP}[tr]
		if err := s.Refuse(tr); err != nil {
			t.Fatal(err)
		}
		if _, err := try(s, tr, q, patience); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want ECONNREFUSED", tr, err)
		}
		ask(t, s, other, q)
		if err := s.Accept(tr); err != nil {
			t.Fatal(err)
		}
		ask(t, s, tr, q)
	}
}

func TestIgnoreAndAccept(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	q := query("example.test", dns.TypeMX)
	for _, tr := range []Transport{UDP, TCP} {
		if err := s.Refuse(tr); err != nil {
			t.Fatal(err)
		}
		if err := s.Ignore(tr); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := try(s, tr, q, 50*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v, want a timeout", tr, err)
		}
		if err := s.Accept(tr); err != nil {
			t.Fatal(err)
		}
		ask(t, s, tr, q)
	}
	if n := len(s.Queries(Match{})); n != 2 {
		t.Errorf("%d queries were seen", n)
	}
}

func TestRefuseTCPResetsOpenConnections(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	c, err := dns.DialTimeout("tcp", s.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := new(dns.Client).ExchangeWithConn(query("example.test", dns.TypeMX), c); err != nil {
		t.Fatal(err)
	}
	if err := s.Refuse(TCP); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Conn.(*net.TCPConn).Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("open connection: %v, want ECONNRESET", err)
	}
}

func TestNoQueryIsAFault(t *testing.T) {
	t.Parallel()
	s, err := StartServer(Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{0, 3, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d octets", n)
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "no query") {
		t.Errorf("Close: %v", err)
	}
}

func TestNoQueryOverUDPIsAFault(t *testing.T) {
	t.Parallel()
	s, err := StartServer(Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answer := query("x.test", dns.TypeA)
	answer.Response = true
	b, err := answer.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	ask(t, s, UDP, query("x.test", dns.TypeA)) // the one before has been read by then
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "UDP from") {
		t.Errorf("Close: %v", err)
	}
}

func TestOpenConnections(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	c, err := dns.DialTimeout("tcp", s.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := new(dns.Client).ExchangeWithConn(query("example.test", dns.TypeMX), c); err != nil {
		t.Fatal(err)
	}
	if n := s.OpenConnections(); n != 1 {
		t.Errorf("%d open", n)
	}
	_ = c.Close()
	if err := s.WaitClosed(t.Context()); err != nil {
		t.Error(err)
	}
	if s.OpenConnections() != 0 || s.Connections() != 1 {
		t.Errorf("%d open of %d", s.OpenConnections(), s.Connections())
	}
}

func TestStartServerOnATakenPort(t *testing.T) {
	t.Parallel()
	s := Start(t, zone)
	if _, err := StartServer(Options{Addr: s.Addr()}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
}

// TestRefuseAfterClose must not bring a closed server back.
func TestRefuseAfterClose(t *testing.T) {
	t.Parallel()
	s, err := StartServer(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Refuse(TCP), s.Close(), s.Accept(TCP), s.Refuse(UDP), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := try(s, TCP, query("x.test", dns.TypeA), patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("TCP after Close: %v", err)
	}
}
