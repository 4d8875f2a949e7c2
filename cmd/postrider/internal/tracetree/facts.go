// SPDX-License-Identifier: Apache-2.0

package tracetree

import (
	"encoding/json"
	"fmt"
	"strings"
)

// facts is what a span says, in one line.
func facts(n *Node) string {
	switch {
	case n.Name == "gateway.submit":
		return join(text(n, "mail.message_id"), counted(n, "mail.recipients", "recipients"), counted(n, "mail.size", "bytes"), failure(n))
	case n.Name == "gateway.loop_check":
		return join(strings.ReplaceAll(text(n, "mail.loop.decision"), "_", " "), loopRules(n), failure(n))
	case n.Name == "queue.enqueue":
		return join(text(n, "messaging.destination.name"), "sequence "+text(n, "mail.queue.sequence"), failure(n))
	case n.Name == "sender.attempt":
		return join("attempt "+text(n, "mail.attempt"), text(n, "mail.destination"), text(n, "mail.verdict"), failure(n))
	case n.Name == "resolver.resolve_route":
		return join(counted(n, "mail.route.hosts", "hosts"), failure(n))
	case n.Name == "dns.query":
		return dnsQuery(n)
	case n.Name == "sender.try_host":
		return host(n)
	case n.Name == "smtp.rcpt" && text(n, "mail.recipients") != "":
		return join(text(n, "mail.recipients.accepted")+" of "+text(n, "mail.recipients")+" accepted", failure(n))
	case strings.HasPrefix(n.Name, "smtp."):
		return join(text(n, "smtp.reply.code"), text(n, "tls.protocol.version"), failure(n))
	case strings.HasPrefix(n.Name, "dsn."):
		return join(strings.Join(list(n, "mail.dsn.decisions"), ", "), text(n, "mail.dsn.kind"), text(n, "mail.dsn.notification_id"), failure(n))
	default:
		return failure(n)
	}
}

// failure is why a span failed; empty when it did not.
func failure(n *Node) string {
	reason := text(n, "mail.reason")
	if n.Attributes["error"] == nil && n.Attributes["otel.status_code"] != "ERROR" && reason == "" {
		return ""
	}
	if reason == "" {
		reason = first(text(n, "error.type"), text(n, "otel.status_description"), "failed")
	}
	if stage := text(n, "smtp.stage"); stage != "" && !strings.HasPrefix(n.Name, "smtp.") {
		reason += " at " + stage
	}
	return join(reason, text(n, "smtp.reply.enhanced"))
}

func host(n *Node) string {
	name := first(text(n, "server.address"), "(address literal)")
	at := fmt.Sprintf("%s [%s:%s] preference %s", name, text(n, "network.peer.address"), text(n, "network.peer.port"), text(n, "mail.mx.preference"))
	why := failure(n)
	if why == "" {
		return join(at, text(n, "tls.protocol.version"), "took the mail")
	}
	next := text(n, "mail.left_for")
	if next != "" {
		next = "→ " + strings.ReplaceAll(next, "_", " ")
	}
	return join(at, "left for "+why, next)
}

func dnsQuery(n *Node) string {
	answers := strings.Join(list(n, "dns.answers"), ", ")
	if answers == "" {
		answers = first(text(n, "dns.rcode"), text(n, "dns.result"))
	}
	if answers == "NOERROR" {
		answers = "no such record"
	}
	return join(text(n, "dns.question.name")+" "+text(n, "dns.question.type")+" → "+answers,
		text(n, "server.address")+" "+text(n, "network.transport"), failure(n))
}

// loopRules pairs the rules of a loop decision with the values compared and the limits.
func loopRules(n *Node) string {
	rules, values := strings.Fields(text(n, "mail.loop.rule")), strings.Fields(text(n, "mail.loop.values"))
	limits := strings.Fields(text(n, "mail.loop.limit"))
	parts := make([]string, 0, len(rules))
	for i, rule := range rules {
		if i < len(values) && i < len(limits) {
			rule += " " + values[i] + " limit " + limits[i]
		}
		parts = append(parts, rule)
	}
	return strings.Join(parts, ", ")
}

// counted is a number with its unit, in the singular after 1.
func counted(n *Node, key, unit string) string {
	value := text(n, key)
	if value == "" {
		return ""
	}
	if value == "1" {
		unit = strings.TrimSuffix(unit, "s")
	}
	return value + " " + unit
}

// text is an attribute as text, empty when the span does not have it.
func text(n *Node, key string) string {
	switch v := n.Attributes[key].(type) {
	case nil:
		return ""
	case float64:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprint(v)
	}
}

// list is an attribute with several values, which Jaeger gives as JSON text.
func list(n *Node, key string) []string {
	var values []string
	if json.Unmarshal([]byte(text(n, key)), &values) != nil {
		return nil
	}
	return values
}

func first(options ...string) string {
	for _, o := range options {
		if o != "" {
			return o
		}
	}
	return ""
}

func join(parts ...string) string {
	kept := parts[:0]
	for _, p := range parts {
		if p != "" {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "  ")
}
