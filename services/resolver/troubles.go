// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
)

// announce logs a server or transport that begins to fail or works again, once each, and tells it to the health detail.
func (s *service) announce(c serverhealth.Change) {
	attrs := []slog.Attr{slog.String("server", c.Server.String())}
	switch {
	case c.Transport != "":
		attrs = append(attrs, slog.String("transport", string(c.Transport)))
	case c.Why.Silent():
		attrs = append(attrs, slog.String("transport", "udp and tcp"))
	}
	attrs = append(attrs, slog.String("result", string(c.Why)), slog.Time("since", c.Since))
	if c.Failing {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "DNS server fails", attrs...)
	} else {
		s.log.LogAttrs(context.Background(), slog.LevelInfo, "DNS server works again", attrs...)
	}
	s.tellHealth(c.Now)
}

// tellHealth tells the health detail how a server and its transports stand.
func (s *service) tellHealth(one serverhealth.Status) {
	name := "dns/" + one.Server.String()
	s.detail(name, sentence(one.Server, "", one.Whole))
	s.detail(name+"/udp", sentence(one.Server, dnstransport.UDP, one.UDP))
	s.detail(name+"/tcp", sentence(one.Server, dnstransport.TCP, one.TCP))
}

// troubles are the DNS servers that fail now, in words: the whole server, else its transports.
func (s *service) troubles() []string {
	var all []string
	tell := func(server netip.AddrPort, t dnstransport.Transport, how serverhealth.Standing) {
		if how.Failing() {
			all = append(all, sentence(server, t, how))
		}
	}
	for _, one := range s.health.Status() {
		if tell(one.Server, "", one.Whole); !one.Whole.Failing() {
			tell(one.Server, dnstransport.UDP, one.UDP)
			tell(one.Server, dnstransport.TCP, one.TCP)
		}
	}
	return all
}

// sentence says how a server or a transport of it fails and since when; "" while it works.
func sentence(server netip.AddrPort, t dnstransport.Transport, how serverhealth.Standing) string {
	if !how.Failing() {
		return ""
	}
	does := "answers, but looks up no names for us"
	switch {
	case how.Why == dnsquery.ResultMalformed:
		does = "gives answers that cannot be read"
	case how.Why.Silent():
		does = "does not answer"
	case how.Why == dnsquery.ResultTCPBlocked, how.Why == dnsquery.ResultTruncated:
		does = "gives no answer that is too long for UDP"
	}
	if t != "" {
		does += " over " + strings.ToUpper(string(t))
	}
	return fmt.Sprintf("The DNS server %s %s since %s (%s).", server, does, how.Since.UTC().Format(time.RFC3339), how.Why)
}
