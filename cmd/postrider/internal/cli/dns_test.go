// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
)

const (
	good      = resolverv1.ProbeResult_PROBE_RESULT_OK
	refused   = resolverv1.ProbeResult_PROBE_RESULT_REFUSED
	reset     = resolverv1.ProbeResult_PROBE_RESULT_RESET
	timeout   = resolverv1.ProbeResult_PROBE_RESULT_TIMEOUT
	malformed = resolverv1.ProbeResult_PROBE_RESULT_MALFORMED
	refuses   = resolverv1.ProbeResult_PROBE_RESULT_DENIED // it answers REFUSED or the like
)

// checked is a resolver that answers CheckServers with what a test wrote down.
type checked struct {
	resolverv1.UnimplementedResolverServiceServer
	servers []*resolverv1.ServerCheck
	asked   chan string
}

func (c *checked) CheckServers(_ context.Context, in *resolverv1.CheckServersRequest) (*resolverv1.CheckServersResponse, error) {
	c.asked <- in.GetName()
	return &resolverv1.CheckServersResponse{Servers: c.servers}, nil
}

// listen serves a gRPC server until the end of the test and returns its address.
func listen(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) { // it may be stopped before it began
			t.Error(err)
		}
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return l.Addr().String()
}

// dnsCheck runs the command against a resolver whose servers came to that.
func dnsCheck(t *testing.T, exit int, servers []*resolverv1.ServerCheck, args ...string) (stdout, askedFor string) {
	t.Helper()
	resolver := &checked{servers: servers, asked: make(chan string, 1)}
	address := listen(t, func(s *grpc.Server) { resolverv1.RegisterResolverServiceServer(s, resolver) })
	var out, errs bytes.Buffer
	got := Main(append([]string{"dns", "check", "--server", address}, args...), Streams{Out: &out, Err: &errs})
	if got != exit || errs.Len() > 0 {
		t.Fatalf("status %d, want %d\n%s%s", got, exit, &out, &errs)
	}
	return out.String(), <-resolver.asked
}

// server is one whose probes came to udp, tcp, edns, truncation.
func server(address string, results ...resolverv1.ProbeResult) *resolverv1.ServerCheck {
	s := &resolverv1.ServerCheck{Server: address}
	for i, way := range [][2]string{{"udp", "plain"}, {"tcp", "plain"}, {"udp", "edns"}, {"tcp", "truncation"}} {
		p := &resolverv1.Probe{
			Transport: way[0], Probe: way[1], Result: results[i], Duration: durationpb.New(time.Duration(i+1) * 1600 * time.Microsecond),
		}
		if results[i] != good {
			p.Detail = "Detail of " + way[1] + " over " + way[0] + "."
		}
		s.Probes = append(s.Probes, p)
	}
	return s
}

func TestR38_DNSCheckJSONIsTheContract(t *testing.T) {
	failing := server("[2001:db8::53]:5353", timeout, malformed, refuses, malformed)
	failing.FailingSince = timestamppb.New(time.Date(2026, 11, 2, 8, 30, 0, 0, time.UTC))
	out, name := dnsCheck(t, 1, []*resolverv1.ServerCheck{server("192.0.2.53:53", good, refused, good, reset), failing}, "--json", "example.com")
	if name != "example.com" {
		t.Errorf("asked for %q", name)
	}
	const want = `{"servers":[` +
		`{"server":"192.0.2.53:53","checks":[` +
		`{"transport":"udp","probe":"plain","result":"ok","millis":2},` +
		`{"transport":"tcp","probe":"plain","result":"refused","millis":3,"detail":"Detail of plain over tcp."},` +
		`{"transport":"udp","probe":"edns","result":"ok","millis":5},` +
		`{"transport":"tcp","probe":"truncation","result":"reset","millis":6,"detail":"Detail of truncation over tcp."}]},` +
		`{"server":"[2001:db8::53]:5353","failing_since":"2026-11-02T08:30:00Z","checks":[` +
		`{"transport":"udp","probe":"plain","result":"timeout","millis":2,"detail":"Detail of plain over udp."},` +
		`{"transport":"tcp","probe":"plain","result":"malformed","millis":3,"detail":"Detail of plain over tcp."},` +
		`{"transport":"udp","probe":"edns","result":"denied","millis":5,"detail":"Detail of edns over udp."},` +
		`{"transport":"tcp","probe":"truncation","result":"malformed","millis":6,"detail":"Detail of truncation over tcp."}]}]}`
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(out)); err != nil || compact.String() != want {
		t.Errorf("got %s (%v)\nwant %s", &compact, err, want)
	}
}

func TestR38_DNSCheckExitStatus(t *testing.T) {
	fine := server("192.0.2.1:53", good, good, good, good)
	for _, asJSON := range [][]string{nil, {"--json"}} {
		dnsCheck(t, 0, []*resolverv1.ServerCheck{fine, fine}, asJSON...)
		for i := range 4 {
			results := []resolverv1.ProbeResult{good, good, good, good}
			results[i] = timeout
			dnsCheck(t, 1, []*resolverv1.ServerCheck{fine, server("192.0.2.2:53", results...)}, asJSON...)
		}
		dnsCheck(t, 1, []*resolverv1.ServerCheck{{Server: "192.0.2.3:53"}}, asJSON...)
	}
}

func TestR38_DNSCheckTellsThePeopleWhichCellsAndWhatItMeans(t *testing.T) {
	since := timestamppb.New(time.Date(2026, 11, 2, 8, 30, 0, 0, time.UTC))
	fine := server("192.0.2.1:53", good, good, good, good)
	for name, c := range map[string]struct {
		servers     []*resolverv1.ServerCheck
		since       bool
		name        string // asked for
		exit        int
		want, never []string
	}{
		"fine": {
			servers: []*resolverv1.ServerCheck{fine},
			want:    []string{"SERVER", "UDP", "TCP", "EDNS0", "TRUNCATION", "192.0.2.1:53", "ok 2 ms", "ok 6 ms", "Every DNS server answers"},
			never:   []string{"refused", "failing since", "allow "},
		},
		"TCP refused": {
			servers: []*resolverv1.ServerCheck{fine, server("192.0.2.2:5353", good, refused, good, refused)}, since: true, exit: 1,
			want: []string{
				"192.0.2.2:5353, failing since 2026-11-02T08:30:00Z:", "  TCP refused. Detail of plain over tcp.",
				"  TRUNCATION refused over tcp. Detail of truncation over tcp.", "Mail goes on over UDP", "allow TCP port 5353",
			},
			never: []string{"\n  UDP ", "\n  EDNS0 ", "192.0.2.1:53:", "Every DNS server", "No DNS server"},
		},
		"UDP times out": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.2:53", timeout, good, timeout, good)}, exit: 1,
			want:  []string{"192.0.2.2:53:", "  UDP timeout. ", "  EDNS0 timeout. ", "Mail goes on over TCP", "allow UDP port 53"},
			never: []string{"failing since", "\n  TCP ", "\n  TRUNCATION ", "No DNS server"},
		},
		"TCP spoilt": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.2:53", good, malformed, good, malformed)}, exit: 1,
			want: []string{"changes DNS over TCP"}, never: []string{"allow TCP"},
		},
		"one of two is dead": {
			servers: []*resolverv1.ServerCheck{fine, server("192.0.2.2:53", refused, timeout, refused, refused)}, exit: 1,
			want: []string{"does not answer at all; the other DNS servers are asked instead."}, never: []string{"No DNS server"},
		},
		"all are dead": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", refused, refused, refused, refused), server("192.0.2.2:53", timeout, reset, timeout, timeout)},
			exit:    1,
			want:    []string{"192.0.2.1:53:", "192.0.2.2:53:", "does not answer at all.\n", "No DNS server answers"}, never: []string{"the other DNS servers"},
		},
		"spoilt": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", malformed, malformed, malformed, malformed)}, exit: 1,
			want: []string{"answers, but not this question", "resolver.check_name"}, never: []string{"No DNS server", "at all", "alive"},
		},
		"alive, but denies": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", refuses, refuses, refuses, refuses)}, exit: 1,
			want:  []string{"UDP denied. Detail of plain over udp.", "alive over UDP and TCP, but denies", "`postrider dns check DOMAIN`", "resolver.check_name"},
			never: []string{"No DNS server", "at all", "malformed", "allow ", "firewall"},
		},
		"denies a domain": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", refuses, refuses, refuses, refuses)}, name: "example.com", exit: 1,
			want: []string{"alive over UDP and TCP, but denies", "other domains", "recursion is off"}, never: []string{"check_name", "DOMAIN"},
		},
		"denies over UDP, TCP refused": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", refuses, refused, refuses, refuses)}, exit: 1,
			want: []string{"alive over UDP, but denies this question; for TCP allow TCP port 53"}, never: []string{"No DNS server", "at all"},
		},
		"denies over TCP, UDP silent": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", timeout, refuses, timeout, timeout)}, exit: 1,
			want: []string{"alive over TCP, but denies this question; for UDP allow UDP port 53"}, never: []string{"No DNS server", "at all"},
		},
		"denies the long question only": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", good, good, good, refuses)}, exit: 1,
			want: []string{"TRUNCATION denied over tcp", "could not be seen"}, never: []string{"cannot be had"},
		},
		"spoilt over one, silent over the other": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", timeout, malformed, timeout, timeout)}, exit: 1,
			want: []string{"answers, but not this question"}, never: []string{"No DNS server", "Mail goes on"},
		},
		"no EDNS0": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", good, good, timeout, good)}, exit: 1,
			want: []string{"EDNS0 timeout", "no DANE"}, never: []string{"allow "},
		},
		"long answers": {
			servers: []*resolverv1.ServerCheck{server("192.0.2.1:53", good, good, good, malformed)}, exit: 1,
			want: []string{"TRUNCATION malformed over tcp", "long answers waits"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.since {
				c.servers[len(c.servers)-1].FailingSince = since
			}
			var args []string
			if c.name != "" {
				args = []string{c.name}
			}
			out, asked := dnsCheck(t, c.exit, c.servers, args...)
			if asked != c.name {
				t.Errorf("asked for %q", asked)
			}
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("lacks %q", w)
				}
			}
			for _, n := range c.never {
				if strings.Contains(out, n) {
					t.Errorf("says %q", n)
				}
			}
			if t.Failed() {
				t.Log("\n" + out)
			}
		})
	}
}

// In four processes the default server is the gateway, which has no resolver.
func TestDNSCheckAtAServerThatIsNotTheResolver(t *testing.T) {
	address := listen(t, func(*grpc.Server) {})
	var out, errs bytes.Buffer
	if got := Main([]string{"dns", "check", "--server", address}, Streams{Out: &out, Err: &errs}); got != 1 {
		t.Errorf("status %d", got)
	}
	if out.Len() > 0 || !strings.Contains(errs.String(), "NOT_THE_RESOLVER") || !strings.Contains(errs.String(), "resolver.listen") {
		t.Errorf("said %q %q", &out, &errs)
	}
	if got := Main([]string{"dns", "check", "--json", "--server", address}, Streams{Out: &out, Err: &errs}); got != 1 {
		t.Errorf("status %d", got)
	}
	var refusal struct{ Error struct{ Code, Reason string } }
	if err := json.Unmarshal(out.Bytes(), &refusal); err != nil || refusal.Error.Code != "UNIMPLEMENTED" || refusal.Error.Reason != "NOT_THE_RESOLVER" {
		t.Errorf("refusal %s (%v)", &out, err)
	}
}
