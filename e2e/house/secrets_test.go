// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/rpc"
)

// TestSecretsForContainers runs deploy/secrets.sh on an empty folder: what it makes is what the services read, each
// token has its rights and no more, a second run changes nothing, and --new changes all.
func TestSecretsForContainers(t *testing.T) {
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join(rootDir(t), "deploy", "secrets.sh"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "secrets.sh")
	if err := os.WriteFile(program, script, 0o700); err != nil {
		t.Fatal(err)
	}
	first := secrets(t, dir)
	tokens, err := rpc.LoadTokens(filepath.Join(dir, "secrets", "tokens.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, rights := range map[string][]rpc.Right{
		"ops": {rpc.RightSubmit, rpc.RightOperator}, "sender": nil, "dsn": {rpc.RightSubmit, rpc.RightNullSender},
	} {
		caller, known := tokens.Caller(first[name+"_token"])
		if !known || caller.Name != name || !slices.Equal(caller.Rights, rights) {
			t.Errorf("%s: known %v, %+v; want rights %v", name, known, caller, rights)
		}
	}
	if key := first["trace_key"]; len(key) != 64 || strings.Trim(key, "0123456789abcdef") != "" {
		t.Errorf("trace_key is not 64 hexadecimal digits: %q", key)
	}
	info, err := os.Stat(filepath.Join(dir, "secrets"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is open to others: %v, %v", info.Mode(), err)
	}
	for name, value := range secrets(t, dir) {
		if value != first[name] {
			t.Errorf("a second run changed %s", name)
		}
	}
	for name, value := range secrets(t, dir, "--new") {
		if value == first[name] {
			t.Errorf("--new kept %s", name)
		}
	}
	if out, err := exec.CommandContext(t.Context(), program, "--what").CombinedOutput(); err == nil {
		t.Errorf("an unknown flag was taken: %s", out)
	}
}

// secrets runs the script and returns what each file holds.
func secrets(t *testing.T, dir string, args ...string) map[string]string {
	t.Helper()
	run(t, filepath.Join(dir, "secrets.sh"), args...)
	files, err := os.ReadDir(filepath.Join(dir, "secrets"))
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, %v; want 6", len(files), err)
	}
	held := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, "secrets", f.Name()))
		if err != nil || len(data) == 0 {
			t.Fatalf("%s: %d bytes, %v", f.Name(), len(data), err)
		}
		held[f.Name()] = string(data)
	}
	return held
}
