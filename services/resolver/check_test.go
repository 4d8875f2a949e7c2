// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

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
		"answers REFUSED":     {set(dnstest.Match{}, dnstest.RCode(dns.RcodeRefused)), "udp/plain malformed, tcp/plain malformed, udp/edns malformed, udp/truncation malformed"},
		"lame":                {set(dnstest.Match{}, dnstest.Lame), "udp/plain malformed, tcp/plain malformed, udp/edns malformed, udp/truncation malformed"},
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
	}{
		"TCP only":   {[]dnstest.Transport{dnstest.TCP}, `transport=tcp result=refused`},
		"UDP only":   {[]dnstest.Transport{dnstest.UDP}, `transport=udp result=refused`},
		"everything": {[]dnstest.Transport{dnstest.UDP, dnstest.TCP}, `transport="udp and tcp" result=refused`},
	} {
		t.Run(name, func(t *testing.T) {
			good, bad := dnstest.Start(t, zone), dnstest.Start(t, zone)
			log := &lines{}
			s := start(t, settings(good, bad), environment(log, nil))
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
