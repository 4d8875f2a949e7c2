// SPDX-License-Identifier: Apache-2.0

//go:build debian

// Package dnssec_test asks real DNS servers, not testkit's: Debian's unbound validates what Debian's nsd serves, zones
// signed here with ldns. It owns the zones and the servers; what DANE means for a session is the sender's to test.
package dnssec_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/smtptest"
)

// world is the DNS with its signed zones, and two mail hosts on one port: mx, whose key the TLSA records name, and other,
// to which tampered records lead.
type world struct {
	mx, other *smtptest.Host
	port      uint16
	unbound   int // port
}

func start(t *testing.T) *world {
	bin := install(t)
	dir := t.TempDir()
	listeners := smtptest.SharedPort(t, "127.0.0.2", "127.0.0.3")
	ca := smtptest.NewCA(t)
	config := ca.ServerConfig("mx.secure.example")
	w := &world{port: smtptest.Port(listeners[0])}
	w.mx = smtptest.NewHost(t, smtptest.HostOptions{Name: "mx.secure.example", Listener: listeners[0], TLS: config})
	w.other = smtptest.NewHost(t, smtptest.HostOptions{
		Name: "other.example", Listener: listeners[1], TLS: ca.ServerConfig("wrong.secure.example"),
	})
	files, anchor := build(t, bin, dir, zonesFor(w.port, leaf(t, certificateOf(t, config))))
	w.unbound = startUnbound(t, bin, dir, anchor, files, startNSD(t, bin, dir, files))
	w.validates(t, bin, dir)
	return w
}

func certificateOf(t *testing.T, config *tls.Config) tls.Certificate {
	t.Helper()
	if len(config.Certificates) != 1 {
		t.Fatalf("%d certificates", len(config.Certificates))
	}
	return config.Certificates[0]
}

// validates proves that the servers do what the tests stand on, by a program that is not ours.
func (w *world) validates(t *testing.T, bin, dir string) {
	t.Helper()
	for _, c := range []struct {
		name, rcode string
		ad          bool
	}{
		{"secure.example", "NOERROR", true},
		{"nothere.example", "NXDOMAIN", true},
		{"insecure.example", "NOERROR", false},
		{"bogusmx.example", "SERVFAIL", false},
		{"stripped.example", "SERVFAIL", false},
		{"elsewhere.org", "NXDOMAIN", true}, // by our root
	} {
		out := tool(t, bin, dir, "drill", "-D", "-p", fmt.Sprint(w.unbound), c.name, "@127.0.0.1", "MX")
		flags := regexp.MustCompile(`flags: ([a-z ]*)`).FindString(out)
		if !strings.Contains(out, "rcode: "+c.rcode+",") || strings.Contains(flags, " ad") != c.ad {
			t.Fatalf("unbound says to MX of %s, want %s, AD %t:\n%s", c.name, c.rcode, c.ad, out)
		}
	}
}

func (w *world) settings(more suite.Settings) suite.Settings {
	s := suite.Settings{
		"resolver.servers":   []string{net.JoinHostPort("127.0.0.1", fmt.Sprint(w.unbound))},
		"resolver.smtp_port": w.port,
		"sender.smtp_port":   w.port,
	}
	for key, value := range more {
		s[key] = value
	}
	return s
}

// route is what `postrider route --json` prints, as far as it matters here.
type route struct {
	Hosts []struct {
		Host, TLS string
		Origin    string `json:"tls_origin"`
		Failure   *failure
	}
	Failure *failure
}

type failure struct{ Status, Reason, Detail string }

func routeTo(t *testing.T, server, domain string) (r route) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), suite.Program(t, "postrider"), "route", domain, "--json", "--server", server)
	cmd.Env = os.Environ()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("postrider route %s printed %q %q: %v", domain, &out, &errs, err)
	}
	if failed := cmd.ProcessState.ExitCode() != 0; failed != (r.Failure != nil) {
		t.Errorf("postrider route %s ended with %s and printed %s", domain, cmd.ProcessState, &out)
	}
	return r
}

func (r route) fault() failure {
	if r.Failure == nil {
		return failure{}
	}
	return *r.Failure
}

// hop is what a route says of a host.
type hop struct{ host, tls, origin, status, reason string }

func (r route) hops() []hop {
	var all []hop
	for _, h := range r.Hosts {
		one := hop{host: h.Host, tls: h.TLS, origin: h.Origin}
		if h.Failure != nil {
			one.status, one.reason = h.Failure.Status, h.Failure.Reason
		}
		all = append(all, one)
	}
	return all
}

func TestRoutesByWhatDNSSECSays(t *testing.T) {
	w := start(t)
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: w.settings(nil)})
	tlsa := func(host string) string { return fmt.Sprintf("TLSA _%d._tcp.%s", w.port, host) }
	const bogus = "dns_bogus"
	for _, c := range []struct {
		rule, domain string
		hosts        []hop
		status       string
		reason       string
	}{
		{rule: "R41 secure MX, address and TLSA", domain: "secure.example", hosts: []hop{{"mx.secure.example", "dane", tlsa("mx.secure.example"), "", ""}}},
		{rule: "R41 the domain is an alias", domain: "alias.secure.example", hosts: []hop{{"mx.secure.example", "dane", tlsa("mx.secure.example"), "", ""}}},
		{rule: "R41 the host is an alias", domain: "aliased.secure.example", hosts: []hop{{"mail.secure.example", "dane", tlsa("mx.secure.example"), "", ""}}},
		{rule: "R41 proven not to have TLSA", domain: "nodane.secure.example", hosts: []hop{{"plain.secure.example", "opportunistic", "", "", ""}}},
		{rule: "R41 host in an unsigned zone", domain: "mixed.secure.example", hosts: []hop{{"mx.insecure.example", "opportunistic", "", "", ""}}},
		{rule: "R41 unsigned zone", domain: "insecure.example", hosts: []hop{{"mx.insecure.example", "opportunistic", "", "", ""}}},
		{rule: "R44 no usable record", domain: "pkixonly.secure.example", hosts: []hop{{"pkix.secure.example", "require", tlsa("pkix.secure.example"), "", ""}}},
		{rule: "R40 tampered MX", domain: "bogusmx.example", status: "4.4.3", reason: bogus},
		{rule: "R40 tampered address", domain: "bogusaddr.example", status: "4.4.3", reason: bogus},
		{rule: "R40 expired signatures", domain: "expired.example", status: "4.4.3", reason: bogus},
		{rule: "R40 signatures taken away", domain: "stripped.example", status: "4.4.3", reason: bogus},
		{rule: "R42 tampered TLSA", domain: "bogustlsa.example", status: "4.7.5", reason: "tlsa_lookup"},
		{rule: "R42 TLSA taken away", domain: "droppedtlsa.example", status: "4.7.5", reason: "tlsa_lookup"},
		{rule: "R06 proven not to exist", domain: "nothere.secure.example", status: "5.1.2", reason: "no_such_domain"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			r := routeTo(t, s.Gateway, c.domain)
			if got := r.hops(); !slices.Equal(got, c.hosts) {
				t.Errorf("hosts %+v, want %+v", got, c.hosts)
			}
			if f := r.fault(); f.Status != c.status || f.Reason != c.reason {
				t.Errorf("failure %+v, want %s %s", f, c.status, c.reason)
			}
		})
	}
	t.Run("R42 the other host is used", func(t *testing.T) {
		hops := routeTo(t, s.Gateway, "both.secure.example").hops()
		if len(hops) != 2 || hops[0].tls != "dane" || hops[0].status != "" || hops[1].status != "4.7.5" || hops[1].reason != "tlsa_lookup" {
			t.Errorf("hosts %+v, want the first by DANE and the second not usable", hops)
		}
	})
	t.Run("R30 too long for UDP", func(t *testing.T) {
		r := routeTo(t, s.Gateway, "many.secure.example")
		if r.Failure != nil || len(r.Hosts) < 3 || slices.ContainsFunc(r.hops(), func(h hop) bool { return h.tls != "opportunistic" || h.status != "" }) {
			t.Errorf("%d hosts %+v, failure %+v", len(r.Hosts), r.hops(), r.Failure)
		}
	})
}

// The periodic check and `dns check` ask for the root, as they do when nothing is configured.
func TestR38_RealServerPassesTheCheck(t *testing.T) {
	w := start(t)
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: w.settings(nil)})
	for _, name := range []string{"", "secure.example", "many.secure.example"} {
		args := append([]string{"dns", "check", "--server", s.Gateway}, strings.Fields(name)...)
		if out, err := exec.CommandContext(t.Context(), suite.Program(t, "postrider"), args...).CombinedOutput(); err != nil {
			t.Errorf("postrider %q: %v\n%s", args, err, out)
		}
	}
	if log := s.Processes["postrider"].Log(); strings.Contains(log, "DNS server fails") {
		t.Errorf("the periodic check finds fault with unbound:\n%s", log)
	}
}

// Nobody vouches for the way to a server that is not trusted: its AD bit means nothing, its SERVFAIL still does.
func TestR39_UntrustedServerGivesNoDANE(t *testing.T) {
	w := start(t)
	s := suite.Start(t, suite.AllInOne, suite.Options{Settings: w.settings(suite.Settings{"resolver.trusted_servers": []string{}})})
	if got, want := routeTo(t, s.Gateway, "secure.example").hops(), []hop{{host: "mx.secure.example", tls: "opportunistic"}}; !slices.Equal(got, want) {
		t.Errorf("hosts %+v, want %+v", got, want)
	}
	if f := routeTo(t, s.Gateway, "bogusmx.example").fault(); f.Status != "4.4.3" {
		t.Errorf("bogus MX: %+v, want 4.4.3", f)
	}
}
