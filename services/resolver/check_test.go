// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
	"github.com/postrider/postrider/testkit/dnstest"
)

// table is a check on one line: "udp/plain ok, tcp/plain refused".
func table(s *resolverv1.ServerCheck) string {
	var all []string
	for _, p := range s.GetProbes() {
		word := strings.ToLower(strings.TrimPrefix(p.GetResult().String(), "PROBE_RESULT_"))
		all = append(all, fmt.Sprintf("%s/%s %s", p.GetTransport(), p.GetProbe(), word))
	}
	return strings.Join(all, ", ")
}

func TestR38_CheckServers(t *testing.T) {
	udp, tcp := dnstest.Match{Transport: dnstest.UDP}, dnstest.Match{Transport: dnstest.TCP}
	set := func(m dnstest.Match, b dnstest.Behaviour) func(*dnstest.Server) error {
		return func(s *dnstest.Server) error { s.SetBehaviour(m, b); return nil }
	}
	refusedWithoutTCP := func(s *dnstest.Server) error {
		s.SetBehaviour(dnstest.Match{}, dnstest.RCode(dns.RcodeRefused))
		return s.Refuse(dnstest.TCP)
	}
	for name, c := range map[string]struct {
		spoil func(*dnstest.Server) error
		want  string
	}{
		"honest":              {set(udp, func(*dnstest.Exchange) {}), "udp/plain ok, tcp/plain ok, udp/edns ok, tcp/truncation ok"},
		"truncating":          {set(udp, dnstest.Truncate), "udp/plain ok, tcp/plain ok, udp/edns ok, tcp/truncation ok"},
		"TCP refused":         {func(s *dnstest.Server) error { return s.Refuse(dnstest.TCP) }, "udp/plain ok, tcp/plain refused, udp/edns ok, tcp/truncation refused"},
		"UDP refused":         {func(s *dnstest.Server) error { return s.Refuse(dnstest.UDP) }, "udp/plain refused, tcp/plain ok, udp/edns refused, udp/truncation refused"},
		"TCP reset":           {set(tcp, dnstest.Reset), "udp/plain ok, tcp/plain reset, udp/edns ok, tcp/truncation reset"},
		"TCP closed":          {set(tcp, dnstest.CloseConn), "udp/plain ok, tcp/plain reset, udp/edns ok, tcp/truncation reset"},
		"TCP hangs":           {set(tcp, dnstest.Hang), "udp/plain ok, tcp/plain timeout, udp/edns ok, tcp/truncation timeout"},
		"TCP truncates":       {set(tcp, dnstest.Truncate), "udp/plain ok, tcp/plain malformed, udp/edns ok, tcp/truncation malformed"},
		"UDP silent":          {set(udp, dnstest.Drop), "udp/plain timeout, tcp/plain ok, udp/edns timeout, udp/truncation timeout"},
		"EDNS dropped":        {set(dnstest.Match{}, dnstest.DropEDNS), "udp/plain ok, tcp/plain ok, udp/edns timeout, udp/truncation timeout"},
		"EDNS refused":        {set(dnstest.Match{}, dnstest.NoEDNS(dns.RcodeFormatError)), "udp/plain ok, tcp/plain ok, udp/edns malformed, udp/truncation malformed"},
		"malformed":           {set(dnstest.Match{}, dnstest.Malformed), "udp/plain malformed, tcp/plain malformed, udp/edns malformed, udp/truncation malformed"},
		"garbage":             {set(dnstest.Match{}, dnstest.Garbage), "udp/plain malformed, tcp/plain malformed, udp/edns malformed, udp/truncation malformed"},
		"wrong id":            {set(dnstest.Match{}, dnstest.WrongID), "udp/plain malformed, tcp/plain malformed, udp/edns malformed, udp/truncation malformed"},
		"answers REFUSED":     {set(dnstest.Match{}, dnstest.RCode(dns.RcodeRefused)), "udp/plain denied, tcp/plain denied, udp/edns denied, udp/truncation denied"},
		"answers SERVFAIL":    {set(dnstest.Match{}, dnstest.RCode(dns.RcodeServerFailure)), "udp/plain denied, tcp/plain denied, udp/edns denied, udp/truncation denied"},
		"REFUSED, no TCP":     {refusedWithoutTCP, "udp/plain denied, tcp/plain refused, udp/edns denied, udp/truncation denied"},
		"lame":                {set(dnstest.Match{}, dnstest.Lame), "udp/plain denied, tcp/plain denied, udp/edns denied, udp/truncation denied"},
		"first datagram lost": {set(udp, dnstest.First(3, dnstest.Drop)), "udp/plain ok, tcp/plain ok, udp/edns ok, tcp/truncation ok"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, spoilt := dnstest.Start(t, zone), dnstest.Start(t, zone)
			if err := c.spoil(spoilt); err != nil {
				t.Fatal(err)
			}
			cfg := settings(good, spoilt)
			brisk(&cfg)
			s := startQuiet(t, cfg)
			for _, name := range []string{"", "example.test."} {
				out, err := s.CheckServers(t.Context(), &resolverv1.CheckServersRequest{Name: name})
				if err != nil || len(out.GetServers()) != 2 {
					t.Fatalf("%v, %v", out, err)
				}
				if got := table(out.GetServers()[0]); got != "udp/plain ok, tcp/plain ok, udp/edns ok, tcp/truncation ok" {
					t.Errorf("good server: %s", got)
				}
				if got := table(out.GetServers()[1]); got != c.want || out.GetServers()[1].GetServer() != spoilt.Addr().String() {
					t.Errorf("name %q: %s, want %s", name, got, c.want)
				}
				for _, p := range out.GetServers()[1].GetProbes() {
					if ok := p.GetResult() == resolverv1.ProbeResult_PROBE_RESULT_OK; !ok && p.GetDetail() == "" || p.GetDuration().AsDuration() <= 0 {
						t.Errorf("%v: want a time, and a sentence for what is not ok", p)
					}
				}
			}
		})
	}
}

// A server that cannot reach the root is not one that fails.
func TestR38_ServerCutOffFromTheRoot(t *testing.T) {
	srv := dnstest.Start(t, zone)
	srv.SetBehaviour(dnstest.Match{Name: "."}, dnstest.Hang)
	c := settings(srv)
	brisk(&c)
	log := &lines{}
	s := start(t, c, environment(log, nil))
	s.monitor.round(t.Context())
	out, err := s.CheckServers(t.Context(), &resolverv1.CheckServersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := table(out.GetServers()[0]); got != "udp/plain ok, tcp/plain ok, udp/edns ok, tcp/truncation ok" {
		t.Errorf("%s", got)
	}
	if p := out.GetServers()[0].GetProbes()[0]; !strings.Contains(p.GetDetail(), "localhost") {
		t.Errorf("%v, want it said", p)
	}
	if got := log.with("DNS server fails"); len(got) != 0 {
		t.Errorf("log %q", got)
	}
}

// detail keeps the health detail as a test reads it: trouble by part.
type detail struct {
	mu    sync.Mutex
	parts map[string]string
}

func (d *detail) set(part, trouble string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parts[part] = trouble
}

// of is what is said of a server: of the whole, UDP and TCP.
func (d *detail) of(s *dnstest.Server) [3]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := "dns/" + s.Addr().String()
	return [3]string{d.parts[name], d.parts[name+"/udp"], d.parts[name+"/tcp"]}
}

// gauges reads a gauge of the checks by "server probe transport".
func gauges(t *testing.T, reader *sdkmetric.ManualReader, name string) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			data, ok := m.Data.(metricdata.Gauge[int64])
			if !ok || m.Name != name {
				continue
			}
			for _, point := range data.DataPoints {
				var key []string
				for _, attr := range []attribute.Key{"dns.server", "dns.probe", "network.transport"} {
					v, _ := point.Attributes.Value(attr)
					key = append(key, v.AsString())
				}
				got[strings.Join(key, " ")] = point.Value
			}
		}
	}
	return got
}

// A server that answers is alive over that transport, even if it answers that it will not: log, metric and health detail
// say so, and lookups do not pass it over.
func TestR38_ServerThatDeniesTheRootIsAlive(t *testing.T) {
	for name, code := range map[string]int{"REFUSED": dns.RcodeRefused, "SERVFAIL": dns.RcodeServerFailure, "NOTIMP": dns.RcodeNotImplemented} {
		t.Run(name, func(t *testing.T) {
			srv, other := dnstest.Start(t, zone), dnstest.Start(t, zone)
			srv.SetBehaviour(dnstest.Match{Name: "."}, dnstest.RCode(code))
			log, parts, reader := &lines{}, &detail{parts: map[string]string{}}, sdkmetric.NewManualReader()
			env := environment(log, nil)
			env.Meter, env.Health = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), parts.set
			s := start(t, settings(srv, other), env)
			for range serverhealth.After {
				s.monitor.round(t.Context())
			}
			if got := log.with("DNS server fails"); len(got) != 0 || s.health.Trouble() {
				t.Errorf("log %q, trouble %t", got, s.health.Trouble())
			}
			if got := parts.of(srv); got != [3]string{} || len(parts.parts) != 6 {
				t.Errorf("health detail %q of %d parts", got, len(parts.parts))
			}
			up, denies := gauges(t, reader, "postrider.dns.server.up"), gauges(t, reader, "postrider.dns.server.denies")
			for _, probe := range []string{"plain udp", "plain tcp"} {
				denied, fine := srv.Addr().String()+" "+probe, other.Addr().String()+" "+probe
				if up[denied] != 1 || denies[denied] != 1 || up[fine] != 1 || denies[fine] != 0 {
					t.Errorf("%s: up %v, denies %v", probe, up, denies)
				}
			}
			if len(up) != 8 || len(denies) != 8 {
				t.Errorf("up %v, denies %v, want four of each server", up, denies)
			}
			// It still is the first that lookups ask.
			resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "example.test"})
			if srv.Count("example.test", dns.TypeMX) != 1 || other.Count("example.test", dns.TypeMX) != 0 {
				t.Error("lookups pass the server over")
			}
		})
	}
}

// Asked for a name that was chosen for it, a server that denies fails as a whole, and its transports do not.
func TestR38_ServerThatDeniesTheNameOfTheCheck(t *testing.T) {
	for name, c := range map[string]struct {
		behave dnstest.Behaviour
		result string // "" while nothing is held against the server
	}{
		"REFUSED":  {dnstest.RCode(dns.RcodeRefused), "denied"},
		"lame":     {dnstest.Lame, "lame"},
		"SERVFAIL": {dnstest.RCode(dns.RcodeServerFailure), ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv, other := dnstest.Start(t, zone), dnstest.Start(t, zone)
			srv.SetBehaviour(dnstest.Match{}, c.behave)
			cfg := settings(srv, other)
			cfg.CheckName = "example.test"
			log, parts := &lines{}, &detail{parts: map[string]string{}}
			env := environment(log, nil)
			env.Health = parts.set
			s := start(t, cfg, env)
			s.monitor.round(t.Context())
			got, said := log.with("DNS server fails"), parts.of(srv)
			if c.result == "" {
				if len(got) != 0 || said != [3]string{} {
					t.Errorf("log %q, health detail %q", got, said)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0], "result="+c.result) || strings.Contains(got[0], "transport=") {
				t.Errorf("log %q", got)
			}
			want := "The DNS server " + srv.Addr().String() + " answers, but looks up no names for us since "
			if !strings.HasPrefix(said[0], want) || !strings.HasSuffix(said[0], " ("+c.result+").") || said[1]+said[2] != "" {
				t.Errorf("health detail %q", said)
			}
			out := resolve(t, s, &resolverv1.ResolveRouteRequest{Domain: "example.test"})
			if len(out.GetWarnings()) != 1 || !strings.HasPrefix(out.GetWarnings()[0], want) || srv.Count("example.test", dns.TypeMX) == 0 {
				t.Errorf("warnings %q", out.GetWarnings())
			}
			srv.ClearBehaviour()
			s.monitor.round(t.Context())
			if got := log.with("DNS server works again"); len(got) != 1 || parts.of(srv) != [3]string{} {
				t.Errorf("log %q, health detail %q", got, parts.of(srv))
			}
		})
	}
}

func TestR38_ForcedTCPAsksForMX(t *testing.T) {
	srv := dnstest.Start(t, zone)
	s := startQuiet(t, settings(srv))
	if _, err := s.CheckServers(t.Context(), &resolverv1.CheckServersRequest{Name: "example.test"}); err != nil {
		t.Fatal(err)
	}
	if n := len(srv.Queries(dnstest.Match{Transport: dnstest.TCP, Name: "example.test", Type: dns.TypeMX})); n == 0 {
		t.Error("no MX question over TCP")
	}
	if _, err := s.CheckServers(t.Context(), &resolverv1.CheckServersRequest{Name: "a..b"}); err == nil {
		t.Error("took what is no name")
	}
}

func TestR38_FailingSince(t *testing.T) {
	srv := dnstest.Start(t, zone)
	if err := srv.Refuse(dnstest.TCP); err != nil {
		t.Fatal(err)
	}
	s := startQuiet(t, settings(srv))
	var out *resolverv1.CheckServersResponse
	for range serverhealth.After {
		var err error
		if out, err = s.CheckServers(t.Context(), &resolverv1.CheckServersRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if out.GetServers()[0].GetFailingSince() == nil {
		t.Error("no time since when it fails")
	}
	if err := srv.Accept(dnstest.TCP); err != nil {
		t.Fatal(err)
	}
	out, err := s.CheckServers(t.Context(), &resolverv1.CheckServersRequest{})
	if err != nil || out.GetServers()[0].GetFailingSince() != nil {
		t.Errorf("%v, %v, want it to work again", out, err)
	}
}

// One line when a server fails, one when it works again, whatever the number of rounds.
func TestPeriodicCheckLogsChangesOnce(t *testing.T) {
	for name, c := range map[string]struct {
		refused []dnstest.Transport
		want    string
		parts   [3]bool // whole, UDP, TCP in trouble
	}{
		"TCP only":   {[]dnstest.Transport{dnstest.TCP}, `transport=tcp result=refused`, [3]bool{2: true}},
		"UDP only":   {[]dnstest.Transport{dnstest.UDP}, `transport=udp result=refused`, [3]bool{1: true}},
		"everything": {[]dnstest.Transport{dnstest.UDP, dnstest.TCP}, `transport="udp and tcp" result=refused`, [3]bool{true, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			good, bad := dnstest.Start(t, zone), dnstest.Start(t, zone)
			log, parts := &lines{}, &detail{parts: map[string]string{}}
			env := environment(log, nil)
			env.Health = parts.set
			s := start(t, settings(good, bad), env)
			for _, tr := range c.refused {
				if err := bad.Refuse(tr); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				s.monitor.round(t.Context())
			}
			got := log.with("DNS server fails")
			if len(got) != 1 || !strings.Contains(got[0], c.want) || !strings.Contains(got[0], "server="+bad.Addr().String()) {
				t.Fatalf("log %q, want one line with %s", got, c.want)
			}
			for i, said := range parts.of(bad) {
				over := []string{"", " over UDP", " over TCP"}[i]
				want := "The DNS server " + bad.Addr().String() + " does not answer" + over + " since "
				if (said != "") != c.parts[i] || said != "" && !strings.HasPrefix(said, want) {
					t.Errorf("health detail %q, want %v of whole, UDP, TCP", parts.of(bad), c.parts)
				}
			}
			if said := parts.of(good); said != [3]string{} {
				t.Errorf("health detail of the good server %q", said)
			}
			for _, tr := range c.refused {
				if err := bad.Accept(tr); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				s.monitor.round(t.Context())
			}
			if got := log.with("DNS server works again"); len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("log %q, want one line", got)
			}
			if said := parts.of(bad); said != [3]string{} {
				t.Errorf("health detail of a server that works again: %q", said)
			}
		})
	}
}

func TestPeriodicCheckRuns(t *testing.T) {
	srv := dnstest.Start(t, zone)
	c := settings(srv)
	c.CheckInterval = Default().CheckInterval
	startQuiet(t, c)
	if _, err := srv.WaitQueries(t.Context(), dnstest.Match{Name: ".", Type: dns.TypeNS}, 3); err != nil {
		t.Error(err)
	}
}
