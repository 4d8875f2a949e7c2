// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestScenariosNamed(t *testing.T) {
	all, err := scenariosNamed("")
	if err != nil || len(all) != len(ordinary()) {
		t.Fatalf("%d scenarios, %v", len(all), err)
	}
	some, err := scenariosNamed("latency,traced")
	if err != nil || len(some) != 2 || some[0].name != "latency" || !some[1].further {
		t.Errorf("%+v, %v", some, err)
	}
	if _, err := scenariosNamed("one-domain,fast"); err == nil || !strings.Contains(err.Error(), `"fast"`) {
		t.Errorf("an unknown scenario: %v", err)
	}
}

func TestWays(t *testing.T) {
	systems := []string{"ceiling", "postfix", "postrider"}
	count := func(name string) map[string]int {
		found, err := scenariosNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, w := range found[0].ways(systems) {
			n[w.system]++
		}
		return n
	}
	for name, want := range map[string][3]int{"one-domain": {1, 1, 3}, "latency": {0, 2, 2}, "big": {1, 1, 1}, "traced": {0, 0, 1}} {
		if n := count(name); n["ceiling"] != want[0] || n["postfix"] != want[1] || n["postrider"] != want[2] {
			t.Errorf("%s: %v, want %v", name, n, want)
		}
	}
}

func TestMedianAndRatios(t *testing.T) {
	run := func(rate, cpu float64, complete bool) row {
		return row{Scenario: "one-domain", System: "postrider", PerSecond: rate, CPU: cpu, Complete: complete}
	}
	m := median([]row{run(300, 3, true), run(100, 1, true), run(200, 2, true)})
	if m.PerSecond != 200 || m.CPU != 2 || m.LowestRate != 100 || m.HighRate != 300 || !m.Complete {
		t.Errorf("%+v", m)
	}
	if median([]row{run(1, 1, true), run(1, 1, false), run(1, 1, true)}).Complete {
		t.Error("a run that lost mail makes no complete row")
	}
	rows := relate([]row{
		{Scenario: "one-domain", System: "ceiling", PerSecond: 1000},
		{Scenario: "one-domain", System: "postfix", PerSecond: 50},
		m,
		{Scenario: "big", System: "postrider", PerSecond: 7},
	})
	if rows[2].OfCeiling != 0.2 || rows[2].OfPostfix != 4 || rows[3].OfPostfix != 0 {
		t.Errorf("%+v", rows)
	}
}

func TestRowsAreJSONLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.json")
	if err := writeRows(file, []row{{Scenario: "a", Messages: 1}, {Scenario: "b", P50: 1.5}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil || fields["scenario"] == nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if n != 2 {
		t.Errorf("%d lines", n)
	}
}

// TestLastNumber reads a counter while it is being written.
func TestLastNumber(t *testing.T) {
	file := filepath.Join(t.TempDir(), "count")
	for text, want := range map[string]int{
		"": 0, "sess=1 quit=0 mesg=7": 7, "sess=1 quit=0 mesg=7\rsess=1 quit=0 mesg=1": 7, "accepted=5\raccepted=12\raccep": 0,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastNumber(file, "mesg="); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := lastNumber(file+"x", "mesg="); got != 0 {
		t.Errorf("no file: %d", got)
	}
}

func TestZone(t *testing.T) {
	ask := func(name string, kind uint16) *dns.Msg { return answer(new(dns.Msg).SetQuestion(name, kind)) }
	if r := ask("d017.bench.test.", dns.TypeMX); len(r.Answer) != 1 || r.Answer[0].(*dns.MX).Mx != "mx.d017.bench.test." {
		t.Errorf("MX: %v", r)
	}
	if r := ask("mx.d017.bench.test.", dns.TypeA); len(r.Answer) != 1 || !r.Answer[0].(*dns.A).A.Equal(net.ParseIP("127.0.1.17")) {
		t.Errorf("A: %v", r)
	}
	if r := ask("dead.bench.test.", dns.TypeMX); len(r.Answer) != 2 || r.Answer[0].(*dns.MX).Mx != "mx1.dead.bench.test." {
		t.Errorf("dead: %v", r)
	}
	for _, name := range []string{"d201.bench.test.", "d17.bench.test.", "other.test."} {
		if r := ask(name, dns.TypeMX); r.Rcode != dns.RcodeNameError || len(r.Ns) != 1 {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := ask("mx.one.bench.test.", dns.TypeAAAA); r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 || len(r.Ns) != 1 {
		t.Errorf("no AAAA: %v", r)
	}
}

// TestContentHasItsSize checks what is submitted: CRLF lines, the size wanted, and nothing that needs dot-stuffing.
func TestContentHasItsSize(t *testing.T) {
	for _, size := range []int{2 << 10, 100 << 10} {
		s := &submitter{scenario: scenario{size: size, recipient: "to@d%03d.bench.test"}}
		content := s.content(7)
		if len(content) != size || !bytes.HasSuffix(content, []byte("\r\n")) || bytes.Contains(content, []byte("\n.")) {
			t.Errorf("%d bytes instead of %d, ends in %q", len(content), size, content[len(content)-8:])
		}
		if !bytes.Contains(content, []byte("To: <to@d008.bench.test>\r\n")) {
			t.Error("the recipient is not that of the message")
		}
	}
}

// TestLatencyHost takes a message as the relay would hand it over.
func TestLatencyHost(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	h := &host{arrived: map[string]chan time.Time{}}
	go h.serve(listener)
	arrived := h.expect("3")
	session, err := openSession(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := &submitter{scenario: scenario{size: 2 << 10, recipient: "to@one.bench.test"}}
	if err := session.send(envelopeSender, s.to(3), s.content(3)); err != nil {
		t.Fatal(err)
	}
	<-arrived
	session.quit()
}

func TestFigure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figure.svg")
	if err := writeFigure(file, []row{{Scenario: "one-domain", System: "postrider", Submit: "unary", PerSecond: 9000, CPU: 0.12}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(data, []byte("one-domain, postrider unary")) || !bytes.Contains(data, []byte(">9000<")) {
		t.Errorf("%s, %v", data, err)
	}
}
