// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// build is done once a test process for each program.
var build struct {
	sync.Mutex
	done map[string]string
}

// Program returns the path of a program of the tree, or of a tool the tests need (nats-server, grpcurl), built if it
// is not. POSTRIDER_BIN names a folder of ready ones.
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
	var cmd *exec.Cmd
	switch name {
	case "nats-server", "grpcurl":
		tool := map[string]string{"nats-server": "natsserver", "grpcurl": "grpcurl"}[name]
		cmd = exec.Command("go", "-C", filepath.Join(root, "tools", tool), "install", "tool")
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOBIN="+filepath.Join(root, "bin"))
	case "postrider":
		cmd = exec.Command("go", "build", "-o", path, "./cmd/postrider")
	default:
		cmd = exec.Command("go", "build", "-o", path, "./services/"+name+"/cmd/"+name)
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
