// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/postrider/postrider/kit/rpc"
)

const (
	postriderAddress = "127.0.0.1:2600"
	postriderHTTP    = "127.0.0.1:3600" // by default 1000 above gRPC
	traceAddress     = "127.0.0.1:4317"
	serveWithin      = time.Minute
)

// startPostrider starts the all-in-one on an empty queue, as a user would: the default configuration but for the
// addresses of the world around it, and as many connections to one destination as Postfix has.
func (r run) startPostrider() (string, error) {
	dir, err := r.fresh("postrider")
	if err != nil {
		return "", err
	}
	settings := map[string]any{
		"node":     map[string]any{"name": "relay.bench.test"},
		"nats":     map[string]any{"data_dir": filepath.Join(dir, "data")},
		"gateway":  map[string]any{"listen": postriderAddress},
		"resolver": map[string]any{"servers": []string{dnsAddress}, "allow_special_addresses": []string{"127.0.0.0/8"}},
		"sender":   map[string]any{"connections": callers},
	}
	maps.Copy(settings, r.settings)
	if r.profile != "" {
		settings["telemetry"] = map[string]any{"profiles": true}
	}
	data, err := json.Marshal(settings) // JSON is YAML
	if err != nil {
		return "", err
	}
	config := filepath.Join(dir, "postrider.yaml")
	if err := os.WriteFile(config, data, 0o600); err != nil {
		return "", err
	}
	log, err := os.Create(filepath.Join(r.work, "postrider.log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	env := append(os.Environ(), "OTEL_TRACES_EXPORTER=none", "POSTRIDER_LOG_FORMAT=json")
	if len(r.env) > 0 {
		if err := startTraceSink(); err != nil {
			return "", err
		}
		env = append(env, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+traceAddress, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
		env = append(env, r.env...)
	}
	args := r.group.command(r.postrider, "serve", "--config", config)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	if err := serving(postriderAddress); err != nil {
		return "", fmt.Errorf("%w, see postrider.log", err)
	}
	if r.queued > 0 {
		return postriderAddress, fillQueue(postriderAddress, r.queued)
	}
	return postriderAddress, nil
}

// takeProfile writes a CPU profile of the begin of the run, when one is wanted.
func (r run) takeProfile() <-chan error {
	done := make(chan error, 1)
	if r.profile == "" || r.system != "postrider" {
		close(done)
		return done
	}
	go func() {
		reply, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", postriderHTTP, int(r.profileTime.Seconds())))
		if err != nil {
			done <- err
			return
		}
		defer reply.Body.Close()
		data, err := io.ReadAll(reply.Body)
		if err == nil && reply.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", reply.Status, data)
		}
		done <- errors.Join(err, os.WriteFile(r.profile, data, 0o644))
	}()
	return done
}

// serving waits until the server says that it serves.
func serving(address string) error {
	conn, err := rpc.Dial(address, rpc.ClientOptions{})
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline := time.Now().Add(serveWithin)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		reply, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		cancel()
		if err == nil && reply.Status == healthv1.HealthCheckResponse_SERVING {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("%s after %s", reply.GetStatus(), serveWithin), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
