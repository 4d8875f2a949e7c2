// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

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
// fails which cells, why, since when, and what it means for the mail.
func writeDNSCheck(w io.Writer, r *resolverv1.CheckServersResponse) {
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
			writeDNSFault(w, s, silent < len(r.GetServers()))
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
func writeDNSFault(w io.Writer, s *resolverv1.ServerCheck, others bool) {
	since := ""
	if t := s.GetFailingSince(); t != nil {
		since = ", failing since " + t.AsTime().UTC().Format(time.RFC3339)
	}
	fmt.Fprintf(w, "%s%s:\n", s.GetServer(), since)
	for _, p := range s.GetProbes() {
		if !probeOK(p) {
			fmt.Fprintf(w, "  %s %s. %s\n", probeColumn(p), probeFault(p), p.GetDetail())
		}
	}
	fmt.Fprintf(w, "  %s\n", newCells(s).meaning(portOf(s.GetServer()), others))
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
	return r != resolverv1.ProbeResult_PROBE_RESULT_OK && r != resolverv1.ProbeResult_PROBE_RESULT_MALFORMED
}

// meaning is one sentence for the administrator: what the failed ways mean for the mail, and what to look at.
func (c cells) meaning(port string, others bool) string {
	const ok, malformed = resolverv1.ProbeResult_PROBE_RESULT_OK, resolverv1.ProbeResult_PROBE_RESULT_MALFORMED
	instead := ""
	if others {
		instead = "; the other DNS servers are asked instead"
	}
	switch {
	case c.silent():
		return "The server does not answer at all" + instead + "."
	case c.udp != ok && c.tcp != ok:
		return "The server answers, but not this question: if `postrider dns check DOMAIN` finds the same, it looks up no names for us (recursion is off), else set resolver.check_name to that domain."
	case c.tcp != ok:
		return "Mail goes on over UDP, but an answer too long for UDP cannot be had from this server: " + remedy(c.tcp, "TCP", port)
	case c.udp != ok:
		return "Mail goes on over TCP, which is slower: " + remedy(c.udp, "UDP", port)
	case c.edns != ok:
		return "The server, or a firewall before it, does not take EDNS0: it is asked without, and nothing it says is secured by DNSSEC (no DANE)."
	case c.truncation != ok:
		return "Short answers come, but a long one cannot be had from this server: mail to domains with long answers waits unless another server has them."
	default:
		return "The server was not asked."
	}
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
