// SPDX-License-Identifier: Apache-2.0

package config

// TLS names the files of one side of a TLS connection.
type TLS struct {
	// CertFile is a PEM certificate chain.
	CertFile string `yaml:"cert_file" help:"PEM file with the certificate chain this side shows. Empty: none."`
	// KeyFile is the PEM private key of CertFile.
	KeyFile string `yaml:"key_file" help:"PEM file with the private key of cert_file."`
	// CAFile is a PEM bundle by which the other side is verified.
	CAFile string `yaml:"ca_file" help:"PEM file with the authorities the other side is verified by. Empty: the connections we open are not TLS."`
}

// Node is the section about the process itself.
type Node struct {
	// Name is the FQDN of this node, for EHLO (RFC 5321, section 4.1.1.1), Received and Reporting-MTA.
	Name string `yaml:"name" help:"Fully qualified name of this node: EHLO, Received, Reporting-MTA. Empty: EHLO uses the address literal of the local address."`
	// HTTPListen is where metrics and health are served.
	HTTPListen string `yaml:"http_listen" help:"host:port for /metrics (Prometheus), /healthz and /readyz. Empty: the host of the gRPC port, port + 1000. off: not served."`
	// OwnHosts are MX names that are ourselves.
	OwnHosts []string `yaml:"own_hosts" help:"MX host names that are ourselves; an MX of that name is dropped with all of lower priority (RFC 5321, section 5.1)."`
	// OwnAddresses are IP addresses that are ourselves.
	OwnAddresses []string `yaml:"own_addresses" help:"IP addresses that are ourselves, for the same rule."`
	// TLS is for gRPC.
	TLS TLS `yaml:"tls" help:"TLS of the gRPC port and of calls to other services. Empty files: in clear, for loopback and private networks."`
}

// NATS is the section about the queue's store.
type NATS struct {
	// URL is one or several server URLs with commas between; empty is the embedded server.
	URL string `yaml:"url" help:"NATS server, nats://host:4222; several with commas between. Empty: the embedded server (all-in-one only)."`
	// DataDir is where the embedded server and the body files live.
	DataDir string `yaml:"data_dir" help:"Folder of the embedded server's streams and of stored contents."`
	// Replicas is the number of copies of each stream; 0 is 3 in a cluster, else 1.
	Replicas int `yaml:"replicas" help:"Copies of each stream: 1, 3 or 5. 0: 3 in a cluster, else 1."`
	// MaxStore bounds the streams in bytes.
	MaxStore Size `yaml:"max_store" help:"Disk space of all streams together."`
	// OutcomeBytes bounds the stream of outcomes.
	OutcomeBytes Size `yaml:"outcome_bytes" help:"Disk space of outcomes; older than 7 days or beyond this they are trimmed."`
	// CredsFile holds NATS credentials.
	CredsFile string `yaml:"creds_file" help:"NATS credentials file. Empty: none."`
	// TLS is for the connection to the server.
	TLS TLS `yaml:"tls" help:"TLS of the connection to an external server."`
}

// Queue is the section about how the queue is shared.
type Queue struct {
	// Partitions is the number of partitions; 0 is 1 embedded, 16 external. It is fixed when the streams are made.
	Partitions int `yaml:"partitions" help:"Partitions of the queue, fixed when its streams are made. 0: 1 with the embedded server, 16 with an external one."`
	// LeaseTTL is how long a sender holds a partition without renewing.
	LeaseTTL Duration `yaml:"lease_ttl" help:"How long a sender holds a partition without renewing its lease."`
}

// Ways to choose which traces are exported.
const (
	TracesAll         = "all"
	TracesInteresting = "interesting"
	TracesEnv         = "env"
)

// Telemetry is the section about traces. Where they go, the standard OTEL_* variables say.
type Telemetry struct {
	// Traces is all, interesting or env.
	Traces string `yaml:"traces" help:"all: every trace, whatever its caller decided. interesting: failovers, deferrals, bounces, loop decisions, errors and interesting_share of the rest. env: as OTEL_TRACES_SAMPLER says."`
	// InterestingShare is the share of uneventful traces kept with interesting, 0 to 1.
	InterestingShare float64 `yaml:"interesting_share" help:"Share of uneventful traces kept with interesting, 0 to 1."`
	// Profiles serves /debug/pprof on node.http_listen.
	Profiles bool `yaml:"profiles" help:"Serve /debug/pprof on node.http_listen: where time and memory go. Whoever reaches that port may read it."`
}
