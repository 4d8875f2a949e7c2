// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/kit/mailaddr"
)

// Faults collects what is wrong with a section, each fault with its key.
type Faults struct{ list []error }

// Add notes that the value of key must be different: "gateway.listen: must be host:port".
func (f *Faults) Add(key, format string, args ...any) {
	f.list = append(f.list, &Error{Key: key, Problem: fmt.Sprintf(format, args...)})
}

// Check adds the fault when ok is false.
func (f *Faults) Check(ok bool, key, format string, args ...any) {
	if !ok {
		f.Add(key, format, args...)
	}
}

// Join adds what another Validate found.
func (f *Faults) Join(err error) {
	if err != nil {
		f.list = append(f.list, err)
	}
}

// Err returns all faults joined, nil when there is none.
func (f *Faults) Err() error { return errors.Join(f.list...) }

// Listen checks a host:port to listen on; port 0 is taken, an empty host means every address.
func (f *Faults) Listen(key, address string) {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	f.Check(err == nil, key, "must be host:port with a port from 0 to 65535, not %q", address)
}

// Target checks a host:port to connect to.
func (f *Faults) Target(key, address string) {
	host, port, err := net.SplitHostPort(address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	f.Check(err == nil && portErr == nil && host != "" && number > 0, key, "must be host:port, not %q", address)
}

// Between checks that a duration lies within limits.
func (f *Faults) Between(key string, d Duration, low, high time.Duration) {
	f.Check(d.Std() >= low && d.Std() <= high, key, "must be between %s and %s, not %s", Duration(low), Duration(high), d)
}

// Validate names the files that stand alone. section is the key, such as "node.tls".
func (t TLS) Validate(section string) error {
	var f Faults
	f.Check((t.CertFile == "") == (t.KeyFile == ""), section, "cert_file and key_file must be given together")
	return f.Err()
}

// Validate checks the section node.
func (n *Node) Validate() error {
	var f Faults
	if n.Name != "" {
		err := mailaddr.CheckHost(n.Name)
		dotted := strings.Contains(n.Name, ".") || n.Name == "localhost"
		f.Check(err == nil && dotted, "node.name", "must be a fully qualified host name such as mail.example.com, not %q", n.Name)
	}
	if n.HTTPListen != "" && n.HTTPListen != "off" {
		f.Listen("node.http_listen", n.HTTPListen)
	}
	for i, host := range n.OwnHosts {
		_, err := mailaddr.ToASCII(host)
		f.Check(err == nil, fmt.Sprintf("node.own_hosts[%d]", i), "must be a host name, not %q", host)
	}
	for i, address := range n.OwnAddresses {
		_, err := netip.ParseAddr(address)
		f.Check(err == nil, fmt.Sprintf("node.own_addresses[%d]", i), "must be an IP address, not %q", address)
	}
	f.Join(n.TLS.Validate("node.tls"))
	return f.Err()
}

// Validate checks the section nats.
func (n *NATS) Validate() error {
	var f Faults
	for server := range strings.SplitSeq(n.URL, ",") {
		if n.URL == "" {
			break
		}
		u, err := url.Parse(strings.TrimSpace(server))
		ok := err == nil && u.Host != "" && (u.Scheme == "nats" || u.Scheme == "tls")
		f.Check(ok, "nats.url", "must be nats://host:port or tls://host:port, several with commas between")
		f.Check(err != nil || u.User == nil, "nats.url", "must not hold credentials; use nats.creds_file")
	}
	f.Check(!n.Embedded() || n.DataDir != "", "nats.data_dir", "must be a folder when the embedded server is used")
	f.Check(n.Replicas == 0 || n.Replicas == 1 || n.Replicas == 3 || n.Replicas == 5, "nats.replicas",
		"must be 0, 1, 3 or 5, not %d", n.Replicas)
	f.Check(!n.Embedded() || n.Replicas < 2, "nats.replicas", "must be 0 or 1 with the embedded server, not %d", n.Replicas)
	f.Check(n.MaxStore >= 20*MiB, "nats.max_store", "must be at least 20MiB, not %s", n.MaxStore)
	f.Check(n.OutcomeBytes >= MiB && n.OutcomeBytes <= n.MaxStore/2, "nats.outcome_bytes",
		"must be between 1MiB and half of nats.max_store (%s), not %s", n.MaxStore/2, n.OutcomeBytes)
	f.Join(n.TLS.Validate("nats.tls"))
	return f.Err()
}

// Validate checks the section queue.
func (q *Queue) Validate() error {
	var f Faults
	f.Check(q.Partitions >= 0 && q.Partitions <= 256, "queue.partitions", "must be between 0 and 256, not %d", q.Partitions)
	f.Between("queue.lease_ttl", q.LeaseTTL, time.Second, 5*time.Minute)
	return f.Err()
}

// Validate checks the section telemetry.
func (t *Telemetry) Validate() error {
	var f Faults
	known := t.Traces == TracesAll || t.Traces == TracesInteresting || t.Traces == TracesEnv
	f.Check(known, "telemetry.traces", "must be all, interesting or env, not %q", t.Traces)
	f.Check(t.InterestingShare >= 0 && t.InterestingShare <= 1, "telemetry.interesting_share", "must be between 0 and 1, not %v", t.InterestingShare)
	return f.Err()
}
