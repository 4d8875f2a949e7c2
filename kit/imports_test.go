// SPDX-License-Identifier: Apache-2.0

// Package kit_test checks what holds for all packages of the module.
package kit_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const suite = "github.com/postrider/postrider/"

// TestKit_ImportsNoService: imports run one way, proto ← kit ← services; testkit is for tests only.
func TestKit_ImportsNoService(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if !allowed(name, strings.HasSuffix(path, "_test.go")) {
				t.Errorf("%s imports %s", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("only %d files were looked at", files)
	}
}

// allowed reports whether kit may import a package.
func allowed(name string, test bool) bool {
	inside, ours := strings.CutPrefix(name, suite)
	if !ours {
		return true
	}
	module, _, _ := strings.Cut(inside, "/")
	return module == "proto" || module == "kit" || (module == "testkit" && test)
}

func TestAllowed(t *testing.T) {
	for name, want := range map[string][2]bool{
		"fmt":                         {true, true},
		"google.golang.org/grpc":      {true, true},
		suite + "proto/postrider/x":   {true, true},
		suite + "kit/rpc":             {true, true},
		suite + "testkit/dnstest":     {false, true},
		suite + "services/sender":     {false, false},
		suite + "cmd/postrider/serve": {false, false},
		suite + "e2e/scenario":        {false, false},
		suite + "kitchen/sink":        {false, false},
	} {
		if got := [2]bool{allowed(name, false), allowed(name, true)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
