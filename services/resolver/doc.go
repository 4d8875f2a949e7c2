// SPDX-License-Identifier: Apache-2.0

// Package resolver is the service that answers which hosts take the mail of a domain, in which order, and under which
// TLS policy: RFC 5321, section 5.1; RFC 7505 (null MX); RFC 7672 (DANE); RFC 8461 (MTA-STS).
//
// It owns DNS: the servers, their health, the cache. It never connects to an SMTP port, and it decides no outcome: a
// missing route is an answer with a verdict, which the sender turns into a deferral or a bounce.
//
// Its layers, from the outside in: the gRPC service, route (the finished way to a domain), mxlookup (what an MX answer
// means), tlspolicy, and below them one interface, dnsquery.Querier, three times: dnscache over inflight over
// dnsexchange.
package resolver
