// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
)

const dnsAddress = "127.0.0.1:53"

// serveDNS answers for bench.test, all of it made up:
//
//	one       MX 10 mx.one (127.0.0.2)
//	dNNN      MX 10 mx.dNNN (127.0.1.NNN), NNN from 001 to 200
//	dead      MX 10 mx1.dead (127.0.0.9, where nothing listens), MX 20 mx2.dead (127.0.0.2)
func serveDNS() error {
	packets, err := net.ListenPacket("udp", dnsAddress)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", dnsAddress)
	if err != nil {
		return err
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		_ = w.WriteMsg(answer(question)) // who asks asks again
	})
	go func() { _ = (&dns.Server{PacketConn: packets, Handler: handler}).ActivateAndServe() }()
	go func() { _ = (&dns.Server{Listener: listener, Handler: handler}).ActivateAndServe() }()
	return nil
}

func answer(question *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(question)
	reply.Authoritative, reply.RecursionAvailable = true, true
	if len(question.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
		return reply
	}
	q := question.Question[0]
	mxs, address, exists := lookup(strings.ToLower(strings.TrimSuffix(q.Name, ".")))
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 3600}
	switch {
	case !exists:
		reply.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeMX:
		for i, mx := range mxs {
			reply.Answer = append(reply.Answer, &dns.MX{Hdr: header, Preference: uint16(10 * (i + 1)), Mx: mx + "."})
		}
	case q.Qtype == dns.TypeA && address != "":
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.ParseIP(address)})
	}
	if len(reply.Answer) == 0 { // a negative answer is kept as long as its SOA says
		soa := dns.RR_Header{Name: "bench.test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600}
		reply.Ns = []dns.RR{&dns.SOA{Hdr: soa, Ns: "ns.bench.test.", Mbox: "hostmaster.bench.test.", Minttl: 3600}}
	}
	return reply
}

func lookup(name string) (mxs []string, address string, exists bool) {
	label, ok := strings.CutSuffix(name, ".bench.test")
	if !ok {
		return nil, "", false
	}
	switch label {
	case "one":
		return []string{"mx.one.bench.test"}, "", true
	case "dead":
		return []string{"mx1.dead.bench.test", "mx2.dead.bench.test"}, "", true
	case "mx.one", "mx2.dead", "mx.wait":
		return nil, "127.0.0.2", true
	case "mx1.dead":
		return nil, "127.0.0.9", true
	case "relay", "sender":
		return nil, "127.0.0.1", true
	case "wait":
		return []string{"mx.wait.bench.test"}, "", true
	}
	var n int
	host, isHost := strings.CutPrefix(label, "mx.")
	if _, err := fmt.Sscanf(host, "d%03d", &n); err != nil || n < 1 || n > domains || host != fmt.Sprintf("d%03d", n) {
		return nil, "", false
	}
	if isHost {
		return nil, fmt.Sprintf("127.0.1.%d", n), true
	}
	return []string{"mx." + label + ".bench.test"}, "", true
}
