// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
)

// TestDeployedConfigurationsLoad lets each program read its files under deploy/config and deploy/demo, as the containers
// do: an unknown key, a value of the wrong kind or a key at fault fails here instead of at the first start.
func TestDeployedConfigurationsLoad(t *testing.T) {
	root := rootDir(t)
	files, err := filepath.Glob(filepath.Join(root, "deploy", "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(file string) bool {
		folder := filepath.Base(filepath.Dir(file))
		return folder != "config" && folder != "demo" // of Jaeger, or secrets
	})
	if len(files) != 9 {
		t.Errorf("found %v, want one file for the all-in-one, and two for each service", files)
	}
	for _, file := range files {
		program := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(filepath.Base(filepath.Dir(file))+"/"+program, func(t *testing.T) {
			out := run(t, suite.Program(t, program), "config", "print", "--config", file)
			printed := filepath.Join(t.TempDir(), "printed.yaml")
			if err := os.WriteFile(printed, []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
			if again := run(t, suite.Program(t, program), "config", "print", "--config", printed); again != out {
				t.Error("what config print prints is not what it reads")
			}
		})
	}
}

// TestUnknownKeyIsRefused shows that the test above can fail.
func TestUnknownKeyIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("gateway:\n  listen: 127.0.0.1:0\n  listen: 127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"postrider", "gateway"} {
		out, err := exec.CommandContext(t.Context(), suite.Program(t, program), "config", "print", "--config", file).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "gateway.listen") {
			t.Errorf("%s: %v, %s; want an error that names gateway.listen", program, err, out)
		}
	}
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}
