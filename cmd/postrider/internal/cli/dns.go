// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/postrider/postrider/cmd/postrider/internal/client"
	"github.com/postrider/postrider/kit/rpc"
	resolverv1 "github.com/postrider/postrider/proto/postrider/resolver/v1"
)

type dnsCommands struct {
	Check dnsCheckCommand `cmd:"" help:"Ask every DNS server over UDP, over TCP, with EDNS0 and through a truncated answer."`
}

type dnsCheckCommand struct {
	client.Options
	Name string `arg:"" optional:"" help:"Ask for the MX of this name. Without it for what resolver.check_name says."`
}

// dnsCheckJSON is what `postrider dns check --json` prints.
type dnsCheckJSON struct {
	Servers []dnsServerJSON `json:"servers"`
}

type dnsServerJSON struct {
	Server       string         `json:"server"`
	FailingSince string         `json:"failing_since,omitempty"`
	Checks       []dnsProbeJSON `json:"checks"`
}

type dnsProbeJSON struct {
	Transport string `json:"transport"`
	Probe     string `json:"probe"`
	Result    string `json:"result"`
	Millis    int64  `json:"millis"`
	Detail    string `json:"detail,omitempty"`
}

// errDNSFails makes the exit status 1 after the table was printed.
var errDNSFails = silentError{"a DNS server fails"}

func (c *dnsCheckCommand) Run(ctx context.Context, streams Streams) error {
	return c.Call(ctx, func(ctx context.Context, conn *grpc.ClientConn) error {
		answer, err := resolverv1.NewResolverServiceClient(conn).CheckServers(ctx, &resolverv1.CheckServersRequest{Name: c.Name})
		if err != nil {
			return resolverError(err)
		}
		if c.JSON {
			client.WriteJSON(streams.Out, dnsCheckAsJSON(answer))
		} else {
			writeDNSCheck(streams.Out, answer, c.Name)
		}
		for _, s := range answer.GetServers() {
			if !allOK(s) {
				return errDNSFails
			}
		}
		return nil
	})
}

// resolverError says where to turn when the server asked is one of four processes, and not the resolver.
func resolverError(err error) error {
	if rpc.FromError(err).Code != codes.Unimplemented {
		return err
	}
	return &rpc.Error{
		Code: codes.Unimplemented, Reason: "NOT_THE_RESOLVER", Err: err,
		Message: "The server asked is not the resolver. Where the services are processes of their own, give --server the address of resolver.listen.",
	}
}

func dnsCheckAsJSON(r *resolverv1.CheckServersResponse) dnsCheckJSON {
	out := dnsCheckJSON{Servers: []dnsServerJSON{}}
	for _, s := range r.GetServers() {
		one := dnsServerJSON{Server: s.GetServer(), FailingSince: failingSince(s), Checks: []dnsProbeJSON{}}
		for _, p := range s.GetProbes() {
			one.Checks = append(one.Checks, dnsProbeJSON{
				Transport: p.GetTransport(), Probe: p.GetProbe(), Result: probeWord(p), Millis: probeMillis(p), Detail: p.GetDetail(),
			})
		}
		out.Servers = append(out.Servers, one)
	}
	return out
}

func probeOK(p *resolverv1.Probe) bool {
	return p.GetResult() == resolverv1.ProbeResult_PROBE_RESULT_OK
}

// allOK reports a server that answered in every way; one that was not asked at all did not.
func allOK(s *resolverv1.ServerCheck) bool {
	for _, p := range s.GetProbes() {
		if !probeOK(p) {
			return false
		}
	}
	return len(s.GetProbes()) > 0
}

// failingSince is when a server began to fail, "" while it works.
func failingSince(s *resolverv1.ServerCheck) string {
	if s.GetFailingSince() == nil {
		return ""
	}
	return s.GetFailingSince().AsTime().UTC().Format(time.RFC3339)
}

// probeWord is ok, refused, reset, timeout, malformed or denied.
func probeWord(p *resolverv1.Probe) string {
	return strings.ToLower(strings.TrimPrefix(p.GetResult().String(), "PROBE_RESULT_"))
}

func probeMillis(p *resolverv1.Probe) int64 {
	return p.GetDuration().AsDuration().Round(time.Millisecond).Milliseconds()
}
