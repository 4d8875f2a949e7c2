// SPDX-License-Identifier: Apache-2.0

package dnsonetransport_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/dnstest"
)

// check is one cell of `postrider dns check`.
type check struct{ transport, probe, result string }

var allOK = []check{{"udp", "plain", "ok"}, {"tcp", "plain", "ok"}, {"udp", "edns", "ok"}, {"tcp", "truncation", "ok"}}

// resolverOf is the address at which the resolver is asked: the one port of the all-in-one, or its own.
func resolverOf(t *testing.T, s *suite.Suite) string {
	t.Helper()
	p, ok := s.Processes["resolver"]
	if !ok {
		return s.Gateway
	}
	line := p.WaitLine(t, "being ready to serve", func(line map[string]any) bool { return line["msg"] == "serving" })
	return fmt.Sprint(line["grpc"])
}

// checkServers runs `postrider dns check` as a script and as a person would.
func checkServers(t *testing.T, resolver string, exit int, server netip.AddrPort, want []check) {
	t.Helper()
	out, _ := postrider(t, exit, "dns", "check", "--json", "--server", resolver)
	var answer struct {
		Servers []struct {
			Server string
			Checks []struct {
				Transport, Probe, Result, Detail string
				Millis                           *int64
			}
			FailingSince string `json:"failing_since"`
		}
	}
	strict := json.NewDecoder(strings.NewReader(out))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&answer); err != nil {
		t.Fatalf("dns check printed %q: %v", out, err)
	}
	if len(answer.Servers) != 1 || answer.Servers[0].Server != server.String() {
		t.Fatalf("servers %+v, want %s", answer.Servers, server)
	}
	var got []check
	for _, c := range answer.Servers[0].Checks {
		if c.Millis == nil || *c.Millis < 0 {
			t.Errorf("%s over %s has no time", c.Probe, c.Transport)
		}
		if c.Result != "ok" && c.Detail == "" {
			t.Errorf("%s over %s: %s, %q", c.Probe, c.Transport, c.Result, c.Detail)
		}
		got = append(got, check{c.Transport, c.Probe, c.Result})
	}
	if !slices.Equal(got, want) {
		t.Errorf("dns check found %v, want %v", got, want)
	}
	words, _ := postrider(t, exit, "dns", "check", "--server", resolver)
	for _, c := range want {
		if c.result != "ok" && (!strings.Contains(words, c.result) || !strings.Contains(words, "\n"+server.String())) {
			t.Errorf("dns check does not tell a person of %v:\n%s", c, words)
		}
	}
	if strings.Contains(words, "refused") != (exit == 1) {
		t.Errorf("status %d, and in words:\n%s", exit, words)
	}
}

func checkGatewayIsNotTheResolver(t *testing.T, s *suite.Suite) {
	t.Helper()
	if _, said := postrider(t, 1, "dns", "check", "--server", s.Gateway); !strings.Contains(said, "resolver.listen") {
		t.Errorf("asked for DNS, the gateway's address gives %q", said)
	}
}

// The background check notices by itself, says so once, and mail does not wait for it.
func TestR38_BackgroundCheckTellsWhenATransportFailsAndWhenItIsBack(t *testing.T) {
	dns := dnstest.Start(t, zone)
	if err := dns.Refuse(dnstest.TCP); err != nil {
		t.Fatal(err)
	}
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: suite.Settings{
		"resolver.servers": []string{dns.Addr().String()}, "resolver.transport": "tcp", "resolver.check_interval": "1s",
	}})
	p := s.Processes["postrider"]
	told := func(what string) map[string]any {
		return p.WaitLine(t, what, func(line map[string]any) bool { return line["msg"] == what })
	}
	line := told("DNS server fails")
	if line["server"] != dns.Addr().String() || line["transport"] != "tcp" || line["result"] != "refused" || line["level"] != "WARN" {
		t.Errorf("the log says %v", line)
	}
	words, _ := postrider(t, 1, "dns", "check", "--server", s.Gateway)
	if !strings.Contains(words, dns.Addr().String()+", failing since 20") || !strings.Contains(words, "TCP refused") {
		t.Errorf("dns check does not say since when:\n%s", words)
	}
	fails := "fails: resolver/dns/" + dns.Addr().String() + "/tcp\n"
	if said, _ := postrider(t, 0, "health", "--server", s.Gateway); said != "serving\n"+fails {
		t.Errorf("health says %q", said)
	}
	if err := dns.Accept(dnstest.TCP); err != nil {
		t.Fatal(err)
	}
	told("DNS server works again")
	if said, _ := postrider(t, 0, "health", "--server", s.Gateway); said != "serving\n" {
		t.Errorf("health says %q", said)
	}
	if n := strings.Count(p.Log(), "DNS server fails"); n != 1 {
		t.Errorf("the failure was told %d times:\n%s", n, p.Log())
	}
}

func postrider(t *testing.T, exit int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), suite.Program(t, "postrider"), args...)
	cmd.Env = os.Environ()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != exit {
		t.Fatalf("postrider %q ended with %d, want %d\n%s%s", args, got, exit, out.String(), errs.String())
	}
	return out.String(), errs.String()
}
