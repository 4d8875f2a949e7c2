// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestHealthShowsThePartsThatFail(t *testing.T) {
	const up, down = grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING
	server := health.NewServer()
	address := listen(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, server) })
	for _, c := range []struct {
		whole, tcp, service grpc_health_v1.HealthCheckResponse_ServingStatus
		exit                int
		text, json          string
	}{
		{up, up, up, 0, "serving\n", "{\n  \"status\": \"serving\",\n  \"failing\": []\n}\n"},
		{
			up, down, up, 0, "serving\nfails: resolver/dns/192.0.2.53:53/tcp\n",
			"{\n  \"status\": \"serving\",\n  \"failing\": [\n    \"resolver/dns/192.0.2.53:53/tcp\"\n  ]\n}\n",
		},
		{down, up, down, 1, "not_serving\n", "{\n  \"status\": \"not_serving\",\n  \"failing\": []\n}\n"},
	} {
		server.SetServingStatus("", c.whole)
		server.SetServingStatus("postrider.resolver.v1.ResolverService", c.service)
		server.SetServingStatus("resolver/dns/192.0.2.53:53/udp", up)
		server.SetServingStatus("resolver/dns/192.0.2.53:53/tcp", c.tcp)
		for want, args := range map[string][]string{c.text: nil, c.json: {"--json"}} {
			var out, errs bytes.Buffer
			exit := Main(append([]string{"health", "--server", address}, args...), Streams{Out: &out, Err: &errs})
			if exit != c.exit || out.String() != want || errs.Len() > 0 {
				t.Errorf("%v: status %d, %q %q, want %d, %q", args, exit, &out, &errs, c.exit, want)
			}
		}
	}
}

// Servers that tell no parts, such as one with very many, are as healthy as they say.
func TestHealthOfAServerThatTellsNoParts(t *testing.T) {
	server := health.NewServer()
	for i := range 200 {
		server.SetServingStatus(string(rune('a'+i))+"/part", grpc_health_v1.HealthCheckResponse_SERVING)
	}
	address := listen(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, server) })
	var out, errs bytes.Buffer
	if exit := Main([]string{"health", "--server", address}, Streams{Out: &out, Err: &errs}); exit != 0 || out.String() != "serving\n" {
		t.Errorf("status %d, %q %q", exit, &out, &errs)
	}
}
