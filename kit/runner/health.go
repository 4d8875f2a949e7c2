// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postrider/postrider/kit/config"
	"github.com/postrider/postrider/kit/rpc"
)

// healthLimit bounds a health check.
const healthLimit = 3 * time.Second

// ErrNotServing is a process that answers, but is not ready to serve.
var ErrNotServing = errors.New("not serving")

// CheckHealth asks a process on this machine by grpc.health.v1 whether it serves. address is where it listens; tls is its
// section node.tls. Nil means that it serves.
func CheckHealth(ctx context.Context, address string, files config.TLS) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	var opts rpc.ClientOptions
	if files.CertFile != "" {
		// The process asks itself over loopback, under a name its certificate need not carry.
		opts.TLS = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // see above
	}
	target, err := localTarget(address)
	if err != nil {
		return err
	}
	conn, err := rpc.Dial(target, opts)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answer, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("health of %s: %w", target, err)
	}
	if answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("health of %s: %w", target, ErrNotServing)
	}
	return nil
}

// localTarget returns the address by which a listener on this machine is reached.
func localTarget(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("health: listen address %q: %w", address, err)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip.Is4() && ip.IsUnspecified():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
