// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
)

// Probes and transports by the words of the contract (resolverv1.Probe).
const (
	probePlain      = "plain"
	probeEDNS       = "edns"
	probeTruncation = "truncation"
	transportUDP    = "udp"
	transportTCP    = "tcp"
)

// writeDNSCheck prints one row for each server and one column for each way of asking, and below it for each server that
// fails which cells, why, since when, and what it means for the mail. name is what was asked for, "" what is usual.
func writeDNSCheck(w io.Writer, r *resolverv1.CheckServersResponse, name string) {
	var columns []string
	for _, s := range r.GetServers() {
		for _, p := range s.GetProbes() {
			if c := probeColumn(p); !slices.Contains(columns, c) {
				columns = append(columns, c)
			}
		}
	}
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, strings.Join(append([]string{"SERVER"}, columns...), "\t"))
	for _, s := range r.GetServers() {
		fmt.Fprint(table, s.GetServer())
		for _, c := range columns {
			fmt.Fprint(table, "\t", probeCell(s, c))
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // to a terminal or a buffer
	fmt.Fprintln(w)
	silent, failing := 0, 0
	for _, s := range r.GetServers() {
		if newCells(s).silent() {
			silent++
		}
	}
	for _, s := range r.GetServers() {
		if !allOK(s) {
			failing++
			writeDNSFault(w, s, name, silent < len(r.GetServers()))
		}
	}
	switch {
	case silent > 0 && silent == len(r.GetServers()):
		fmt.Fprintln(w, "No DNS server answers: no mail can be delivered until one does. It waits in the queue.")
	case failing == 0 && len(r.GetServers()) > 0:
		fmt.Fprintln(w, "Every DNS server answers in every way.")
	}
}

// writeDNSFault tells of one server that does not answer in every way. others says that there is another to ask.
func writeDNSFault(w io.Writer, s *resolverv1.ServerCheck, name string, others bool) {
	since := failingSince(s)
	if since != "" {
		since = ", failing since " + since
	}
	fmt.Fprintf(w, "%s%s:\n", s.GetServer(), since)
	for _, p := range s.GetProbes() {
		if !probeOK(p) {
			fmt.Fprintf(w, "  %s %s. %s\n", probeColumn(p), probeFault(p), p.GetDetail())
		}
	}
	fmt.Fprintf(w, "  %s\n", newCells(s).meaning(portOf(s.GetServer()), name, others))
}

// probeColumn is the heading over a way of asking. The transport of a truncated answer is told in the cell: it is the
// one that failed.
func probeColumn(p *resolverv1.Probe) string {
	switch p.GetProbe() {
	case probePlain:
		return strings.ToUpper(p.GetTransport())
	case probeEDNS:
		return "EDNS0"
	default:
		return strings.ToUpper(p.GetProbe())
	}
}

func probeCell(s *resolverv1.ServerCheck, column string) string {
	for _, p := range s.GetProbes() {
		switch {
		case probeColumn(p) != column:
		case probeOK(p):
			return fmt.Sprintf("ok %d ms", probeMillis(p))
		default:
			return probeFault(p)
		}
	}
	return "-"
}

func probeFault(p *resolverv1.Probe) string {
	if p.GetProbe() == probeTruncation {
		return probeWord(p) + " over " + p.GetTransport()
	}
	return probeWord(p)
}

// cells are what a server came to in each way; a way that was not probed counts as working.
type cells struct{ udp, tcp, edns, truncation resolverv1.ProbeResult }

func newCells(s *resolverv1.ServerCheck) cells {
	const ok = resolverv1.ProbeResult_PROBE_RESULT_OK
	c := cells{ok, ok, ok, ok}
	for _, p := range s.GetProbes() {
		switch {
		case p.GetProbe() == probePlain && p.GetTransport() == transportUDP:
			c.udp = p.GetResult()
		case p.GetProbe() == probePlain && p.GetTransport() == transportTCP:
			c.tcp = p.GetResult()
		case p.GetProbe() == probeEDNS:
			c.edns = p.GetResult()
		case p.GetProbe() == probeTruncation:
			c.truncation = p.GetResult()
		}
	}
	return c
}

// silent reports a server from which nothing comes at all.
func (c cells) silent() bool {
	return nothing(c.udp) && nothing(c.tcp)
}

func nothing(r resolverv1.ProbeResult) bool {
	return r != resolverv1.ProbeResult_PROBE_RESULT_OK && r != resolverv1.ProbeResult_PROBE_RESULT_MALFORMED && !denied(r)
}

// denied reports an answer that says no: the transport works.
func denied(r resolverv1.ProbeResult) bool { return r == resolverv1.ProbeResult_PROBE_RESULT_DENIED }

// meaning is one sentence for the administrator: what the failed ways mean for the mail, and what to look at.
func (c cells) meaning(port, name string, others bool) string {
	const ok = resolverv1.ProbeResult_PROBE_RESULT_OK
	instead := ""
	if others {
		instead = "; the other DNS servers are asked instead"
	}
	switch {
	case c.silent():
		return "The server does not answer at all" + instead + "."
	case c.udp != ok && c.tcp != ok:
		return c.unanswered(port) + refusal(name)
	case c.tcp != ok:
		return "Mail goes on over UDP, but an answer too long for UDP cannot be had from this server: " + remedy(c.tcp, "TCP", port)
	case c.udp != ok:
		return "Mail goes on over TCP, which is slower: " + remedy(c.udp, "UDP", port)
	case c.edns != ok && !denied(c.edns):
		return "The server, or a firewall before it, does not take EDNS0: it is asked without, and nothing it says is secured by DNSSEC (no DANE)."
	case denied(c.truncation):
		return "Short answers come. What becomes of a long one could not be seen: the server denies the question that has one."
	case c.truncation != ok:
		return "Short answers come, but a long one cannot be had from this server: mail to domains with long answers waits unless another server has them."
	default:
		return "The server was not asked."
	}
}

// unanswered is said of a server that answered the question over neither transport, but is not silent.
func (c cells) unanswered(port string) string {
	switch {
	case denied(c.udp) && denied(c.tcp):
		return "The server is alive over UDP and TCP, but denies this question. "
	case denied(c.udp):
		return "The server is alive over UDP, but denies this question; for TCP " + remedy(c.tcp, "TCP", port) + " "
	case denied(c.tcp):
		return "The server is alive over TCP, but denies this question; for UDP " + remedy(c.udp, "UDP", port) + " "
	default:
		return "The server answers, but not this question. "
	}
}

// refusal says what a question that was not answered means.
func refusal(name string) string {
	if name == "" {
		return "If `postrider dns check DOMAIN` finds the same, it looks up no names for us (recursion is off, or we are none of its clients); else set resolver.check_name to that domain."
	}
	return "If other domains fare no better, it looks up no names for us: recursion is off, or we are none of its clients."
}

func remedy(r resolverv1.ProbeResult, transport, port string) string {
	if r == resolverv1.ProbeResult_PROBE_RESULT_MALFORMED {
		return "look for a firewall or proxy that changes DNS over " + transport + " on the way to it."
	}
	return "allow " + transport + " port " + port + " to it, in every firewall on the way and on the server."
}

func portOf(server string) string {
	if addr, err := netip.ParseAddrPort(server); err == nil {
		return fmt.Sprint(addr.Port())
	}
	return "53"
}
