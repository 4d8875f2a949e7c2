// SPDX-License-Identifier: Apache-2.0

package dnstransport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnswire"
	"github.com/postrider/postrider/testkit/dnstest"
)

const zone = "example.test MX 10 mx.test\n"

func query() dnswire.Query {
	return dnswire.Query{Question: dnsquery.Question{Name: "example.test", Type: dnsquery.TypeMX}, EDNS: true}
}

func ask(t *testing.T, transport Transport, server netip.AddrPort, limit time.Duration) (*dnswire.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return Ask(ctx, transport, server, query(), limit)
}

func TestAnswer(t *testing.T) {
	srv := dnstest.Start(t, zone)
	for _, transport := range []Transport{UDP, TCP} {
		m, err := ask(t, transport, srv.Addr(), time.Minute)
		if err != nil || m.Result != dnsquery.ResultAnswered || len(m.Answer.MX) != 1 {
			t.Errorf("%s: %+v, %v", transport, m, err)
		}
		if got := srv.Queries(dnstest.Match{Transport: dnstest.Transport(transport)}); len(got) != 1 {
			t.Errorf("%s: %d queries", transport, len(got))
		}
	}
	if n := srv.OpenConnections(); n > 1 {
		t.Errorf("%d connections left open", n)
	}
}

func TestWordForEachFailure(t *testing.T) {
	silent, short := time.Minute, 300*time.Millisecond
	for _, c := range []struct {
		name      string
		transport Transport
		spoil     func(*dnstest.Server) error
		limit     time.Duration
		want      dnsquery.Result
	}{
		{"closed port", UDP, func(s *dnstest.Server) error { return s.Refuse(dnstest.UDP) }, silent, dnsquery.ResultRefused},
		{"closed port", TCP, func(s *dnstest.Server) error { return s.Refuse(dnstest.TCP) }, silent, dnsquery.ResultRefused},
		{"no answer", UDP, with(dnstest.Drop), short, dnsquery.ResultTimeout},
		{"no answer", TCP, with(dnstest.Hang), short, dnsquery.ResultTimeout},
		{"reset", TCP, with(dnstest.Reset), silent, dnsquery.ResultReset},
		{"closed", TCP, with(dnstest.CloseConn), silent, dnsquery.ResultReset},
		{"cut in the middle", TCP, with(dnstest.CutFrame), silent, dnsquery.ResultReset},
		{"malformed", UDP, with(dnstest.Malformed), silent, dnsquery.ResultMalformed},
		{"malformed", TCP, with(dnstest.Malformed), silent, dnsquery.ResultMalformed},
		{"only foreign messages", UDP, with(dnstest.WrongID), short, dnsquery.ResultMalformed},
		{"only foreign messages", TCP, with(dnstest.WrongQuestion), short, dnsquery.ResultMalformed},
		{"empty frame, then nothing", TCP, with(func(x *dnstest.Exchange) { x.SendStream([]byte{0, 0}); x.Hang() }), short, dnsquery.ResultMalformed},
	} {
		t.Run(c.name+" over "+string(c.transport), func(t *testing.T) {
			t.Parallel()
			srv := dnstest.Start(t, zone)
			if err := c.spoil(srv); err != nil {
				t.Fatal(err)
			}
			_, err := ask(t, c.transport, srv.Addr(), c.limit)
			if failed, ok := errors.AsType[*Error](err); !ok || failed.Result != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func with(b dnstest.Behaviour) func(*dnstest.Server) error {
	return func(s *dnstest.Server) error {
		s.SetBehaviour(dnstest.Match{}, b)
		return nil
	}
}

// Only the server's own address and port count: the kernel passes nothing else to a connected socket.
func TestR28_AnswersFromElsewhereDoNotCount(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, dnstest.ForgedElsewhere("example.test MX 0 evil.test"))
	m, err := ask(t, UDP, srv.Addr(), time.Minute)
	if err != nil || len(m.Answer.MX) != 1 || m.Answer.MX[0].Host != "mx.test" {
		t.Errorf("%+v, %v", m, err)
	}
	srv.SetBehaviour(dnstest.Match{}, dnstest.OtherPort)
	_, err = ask(t, UDP, srv.Addr(), 300*time.Millisecond)
	if failed, ok := errors.AsType[*Error](err); !ok || failed.Result != dnsquery.ResultTimeout {
		t.Errorf("%v, want timeout", err)
	}
}

// Every query has an id and a source port of its own (RFC 5452, section 9.2).
func TestR28_IdAndSourcePortAreNew(t *testing.T) {
	srv := dnstest.Start(t, zone)
	const rounds = 30
	for _, transport := range []Transport{UDP, TCP} {
		srv.ForgetQueries()
		for range rounds {
			if _, err := ask(t, transport, srv.Addr(), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		ids, ports := map[uint16]bool{}, map[uint16]bool{}
		for _, q := range srv.Queries(dnstest.Match{}) {
			ids[q.ID], ports[q.Source.Port()] = true, true
		}
		if len(ids) < rounds-2 || len(ports) < rounds/2 {
			t.Errorf("%s: %d ids and %d ports in %d queries", transport, len(ids), len(ports), rounds)
		}
	}
}

// A handshake nobody answers ends with the time for it, long before the time for the whole.
func TestHandshakeIsBounded(t *testing.T) {
	full := fullBacklog(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	_, err := Ask(ctx, TCP, full, query(), 200*time.Millisecond)
	if failed, ok := errors.AsType[*Error](err); !ok || failed.Result != dnsquery.ResultTimeout {
		t.Errorf("%v, want timeout", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

// fullBacklog is a listener whose queue of connections is full: the kernel drops further handshakes.
func fullBacklog(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port))
	for range 16 {
		conn, err := net.DialTimeout("tcp", at.String(), 200*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue does not get full")
	return at
}

func TestCallerGivesUp(t *testing.T) {
	for _, transport := range []Transport{UDP, TCP} {
		srv := dnstest.Start(t, zone)
		srv.SetBehaviour(dnstest.Match{}, dnstest.Hang)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := Ask(ctx, transport, srv.Addr(), query(), time.Minute)
			done <- err
		}()
		if _, err := srv.WaitQueries(t.Context(), dnstest.Match{}, 1); err != nil {
			t.Fatal(err)
		}
		cancel()
		if failed, ok := errors.AsType[*Error](<-done); !ok || failed.Result != dnsquery.ResultCancelled {
			t.Errorf("%s: %v", transport, failed)
		}
	}
}

func TestNoSuchName(t *testing.T) {
	q := query()
	q.Question.Name = "a..b"
	if _, err := Ask(t.Context(), UDP, netip.MustParseAddrPort("127.0.0.1:53"), q, time.Second); err == nil {
		t.Error("sent what is no name")
	}
}

// A large answer over TCP is read whole.
func TestLargestMessage(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{}, func(x *dnstest.Exchange) {
		for i := range 2500 {
			mx := dns.Copy(x.Reply.Answer[0]).(*dns.MX)
			mx.Preference = uint16(i)
			x.Reply.Answer = append(x.Reply.Answer, mx)
		}
	})
	m, err := ask(t, TCP, srv.Addr(), time.Minute)
	if err != nil || len(m.Answer.MX) != 2501 {
		t.Errorf("%v", err)
	}
}
