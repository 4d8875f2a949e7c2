// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed postfix/install.sh
var installScript string

// prepare fetches what the systems need that is Debian's: smtp-source and smtp-sink, and Postfix whole when wanted.
func prepare(ctx context.Context, work string, postfix bool) error {
	what := "tools"
	if postfix {
		what = "postfix"
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	log := filepath.Join(work, "install.log")
	file, err := os.Create(log)
	if err != nil {
		return err
	}
	defer file.Close()
	cmd := exec.CommandContext(ctx, "bash", "-c", installScript, "install.sh", work, what)
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetch Debian's packages: %w, see %s", err, log)
	}
	return nil
}

// tool is a program of Debian's Postfix package that runs where it was unpacked.
func (r run) tool(name string) string { return filepath.Join(r.work, "tools", "usr", "sbin", name) }

func (r run) toolEnv() []string {
	return append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(r.work, "tools", "usr", "lib", "postfix"))
}

// waitPort waits until something listens.
func waitPort(address string) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nobody listens on %s: %w", address, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
