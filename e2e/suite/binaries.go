// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// build is done once a test process for each program.
var build struct {
	sync.Mutex
	done map[string]string
}

// Program returns the path of a program of the tree, or of a tool the tests need (nats-server, grpcurl), built if it
// is not. POSTRIDER_BIN names a folder of ready ones. "chaos/" before the name is the program with the points of
// kit/crashpoint in it.
func Program(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("POSTRIDER_BIN"); dir != "" {
		return filepath.Join(dir, name)
	}
	build.Lock()
	defer build.Unlock()
	if path, ok := build.done[name]; ok {
		return path
	}
	root := Root(t)
	path := filepath.Join(root, "bin", name)
	plain, tags := name, ""
	if after, ok := strings.CutPrefix(name, "chaos/"); ok {
		plain, tags = after, "chaos"
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var cmd *exec.Cmd
	switch plain {
	case "nats-server", "grpcurl":
		tool := map[string]string{"nats-server": "natsserver", "grpcurl": "grpcurl"}[name]
		cmd = exec.Command("go", "-C", filepath.Join(root, "tools", tool), "install", "tool")
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOBIN="+filepath.Join(root, "bin"))
	case "postrider":
		cmd = exec.Command("go", "build", "-tags", tags, "-o", path, "./cmd/postrider")
	default:
		cmd = exec.Command("go", "build", "-tags", tags, "-o", path, "./services/"+plain+"/cmd/"+plain)
	}
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	if build.done == nil {
		build.done = map[string]string{}
	}
	build.done[name] = path
	return path
}

// Root is the top folder of the tree.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.work above the test")
		}
		dir = up
	}
}
