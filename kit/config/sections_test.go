// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSections_DefaultsAreValid(t *testing.T) {
	node, nats, queue, telemetry := DefaultNode(), DefaultNATS(), DefaultQueue(), DefaultTelemetry()
	if err := errors.Join(node.Validate(), nats.Validate(), queue.Validate(), telemetry.Validate()); err != nil {
		t.Error(err)
	}
}

func TestSections_EveryKeyIsExplained(t *testing.T) {
	var check func(v reflect.Value, path string)
	check = func(v reflect.Value, path string) {
		for _, f := range fieldsOf(v) {
			if len(f.help) < 10 || !strings.HasSuffix(f.help, ".") {
				t.Errorf("%s.%s has the help %q", path, f.key, f.help)
			}
			if isStruct(f.value.Type()) {
				check(f.value, path+"."+f.key)
			}
		}
	}
	for name, section := range map[string]any{"node": &Node{}, "nats": &NATS{}, "queue": &Queue{}, "telemetry": &Telemetry{}} {
		check(target(section), name)
	}
}

func TestSections_ValidateNamesTheKey(t *testing.T) {
	node := func(change func(*Node)) error { n := DefaultNode(); change(&n); return n.Validate() }
	nats := func(change func(*NATS)) error { n := DefaultNATS(); change(&n); return n.Validate() }
	queue := func(change func(*Queue)) error { q := DefaultQueue(); change(&q); return q.Validate() }
	telemetry := func(change func(*Telemetry)) error { v := DefaultTelemetry(); change(&v); return v.Validate() }
	tests := []struct {
		name string
		err  error
		want string // empty: valid
	}{
		{"name", node(func(n *Node) { n.Name = "mail.example.com" }), ""},
		{"localhost", node(func(n *Node) { n.Name = "localhost" }), ""},
		{"name without a dot", node(func(n *Node) { n.Name = "mail" }), "node.name: must be a fully qualified"},
		{"name with a space", node(func(n *Node) { n.Name = "mail example.com" }), "node.name: "},
		{"name that is an address", node(func(n *Node) { n.Name = "192.0.2.1" }), "node.name: "},
		{"listen", node(func(n *Node) { n.HTTPListen = "127.0.0.1:0" }), ""},
		{"listen everywhere", node(func(n *Node) { n.HTTPListen = ":9000" }), ""},
		{"listen off", node(func(n *Node) { n.HTTPListen = "off" }), ""},
		{"listen without a port", node(func(n *Node) { n.HTTPListen = "127.0.0.1" }), "node.http_listen: must be host:port"},
		{"listen port too large", node(func(n *Node) { n.HTTPListen = "127.0.0.1:65536" }), "node.http_listen: "},
		{"own hosts", node(func(n *Node) { n.OwnHosts = []string{"a.example", "bücher.example"} }), ""},
		{"own host", node(func(n *Node) { n.OwnHosts = []string{"a.example", "b..example"} }), "node.own_hosts[1]: must be a host name"},
		{"own address", node(func(n *Node) { n.OwnAddresses = []string{"192.0.2.1", "2001:db8::1"} }), ""},
		{"own address with port", node(func(n *Node) { n.OwnAddresses = []string{"192.0.2.1:25"} }), "node.own_addresses[0]: must be an IP address"},
		{"key without certificate", node(func(n *Node) { n.TLS.KeyFile = "k" }), "node.tls: cert_file and key_file"},
		{"URL", nats(func(n *NATS) { n.URL = "nats://a:4222, tls://b:4222" }), ""},
		{"URL without scheme", nats(func(n *NATS) { n.URL = "localhost:4222" }), "nats.url: must be nats://"},
		{"second URL", nats(func(n *NATS) { n.URL = "nats://a:4222,http://b" }), "nats.url: must be nats://"},
		{"password in the URL", nats(func(n *NATS) { n.URL = "nats://u:secret@a:4222" }), "nats.url: must not hold credentials"},
		{"no folder", nats(func(n *NATS) { n.DataDir = "" }), "nats.data_dir: "},
		{"no folder, external", nats(func(n *NATS) { n.DataDir, n.URL = "", "nats://a:4222" }), ""},
		{"two replicas", nats(func(n *NATS) { n.Replicas, n.URL = 2, "nats://a:4222" }), "nats.replicas: must be 0, 1, 3 or 5, not 2"},
		{"replicas embedded", nats(func(n *NATS) { n.Replicas = 3 }), "nats.replicas: must be 0 or 1 with the embedded server"},
		{"little room", nats(func(n *NATS) { n.MaxStore, n.OutcomeBytes = MiB, MiB }), "nats.max_store: must be at least 20MiB"},
		{"outcomes take all", nats(func(n *NATS) { n.OutcomeBytes = n.MaxStore }), "nats.outcome_bytes: must be between 1MiB and half of"},
		{"TLS of NATS", nats(func(n *NATS) { n.TLS.CertFile = "c" }), "nats.tls: "},
		{"partitions", queue(func(q *Queue) { q.Partitions = -1 }), "queue.partitions: must be between 0 and 256, not -1"},
		{"lease", queue(func(q *Queue) { q.LeaseTTL = Duration(time.Millisecond) }), "queue.lease_ttl: must be between 1s and 5m, not 1ms"},
		{"traces", telemetry(func(v *Telemetry) { v.Traces = "some" }), "telemetry.traces: must be all, interesting or env"},
		{"share", telemetry(func(v *Telemetry) { v.InterestingShare = 1.5 }), "telemetry.interesting_share: must be between 0 and 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			switch {
			case tt.want == "" && tt.err != nil:
				t.Errorf("refused: %v", tt.err)
			case tt.want != "" && (tt.err == nil || !strings.Contains(tt.err.Error(), tt.want)):
				t.Errorf("got %v, want %s", tt.err, tt.want)
			}
			if tt.err != nil && strings.Contains(tt.err.Error(), "secret") {
				t.Errorf("a secret in %v", tt.err)
			}
		})
	}
}

func TestSections_ValidateTellsAllFaults(t *testing.T) {
	n := Node{Name: "x", HTTPListen: "y", OwnHosts: []string{".."}, OwnAddresses: []string{"z"}}
	err := n.Validate()
	for _, key := range []string{"node.name", "node.http_listen", "node.own_hosts[0]", "node.own_addresses[0]"} {
		if err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s is not named in %v", key, err)
		}
	}
}

func TestSections_ZeroIsResolved(t *testing.T) {
	embedded, external := NATS{}, NATS{URL: "nats://a:4222"}
	if !embedded.Embedded() || external.Embedded() {
		t.Error("an empty URL is the embedded server")
	}
	if got := []int{embedded.ReplicaCount(), external.ReplicaCount(), NATS{URL: "x", Replicas: 5}.ReplicaCount()}; !reflect.DeepEqual(got, []int{1, 0, 5}) {
		t.Errorf("replicas %v", got)
	}
	if got := []int{Queue{}.PartitionCount(true), Queue{}.PartitionCount(false), Queue{Partitions: 4}.PartitionCount(true)}; !reflect.DeepEqual(got, []int{1, 16, 4}) {
		t.Errorf("partitions %v", got)
	}
}

func TestFaults(t *testing.T) {
	var f Faults
	f.Listen("a", ":0")
	f.Target("b", "mail.example.com:25")
	f.Between("c", Duration(time.Second), time.Second, time.Minute)
	f.Check(true, "d", "never")
	f.Join(nil)
	if err := f.Err(); err != nil {
		t.Errorf("faults in what is right: %v", err)
	}
	for _, bad := range []string{"", "host", ":25", "host:0", "host:port", "host:65536"} {
		var f Faults
		f.Target("gateway_address", bad)
		if err := f.Err(); err == nil || !strings.HasPrefix(err.Error(), "gateway_address: must be host:port") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	f.Join(errors.New("other"))
	f.Add("e", "must be %d", 7)
	if err := f.Err(); err == nil || err.Error() != "other\ne: must be 7" {
		t.Errorf("got %v", err)
	}
}
