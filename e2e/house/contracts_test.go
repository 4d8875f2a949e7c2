// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProtoNeedsOnlyGrpcAndProtobuf keeps the contracts a module that any client can afford.
func TestProtoNeedsOnlyGrpcAndProtobuf(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(rootDir(t), "proto", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(?:require\s+|\t)([^\s()]+\.[^\s]+) v\S+(.*)$`).FindAllStringSubmatch(string(data), -1) {
		if !strings.Contains(m[2], "// indirect") {
			direct[m[1]] = true
		}
	}
	for module := range direct {
		if module != "google.golang.org/grpc" && module != "google.golang.org/protobuf" {
			t.Errorf("proto requires %s", module)
		}
	}
	if len(direct) != 2 {
		t.Errorf("proto requires %v, want grpc and protobuf", direct)
	}
}

// TestEveryCitedRFCIsListed fails when the code cites an RFC that docs/rfcs.md does not speak of.
func TestEveryCitedRFCIsListed(t *testing.T) {
	list, err := os.ReadFile(filepath.Join(rootDir(t), "docs", "rfcs.md"))
	if err != nil {
		t.Fatal(err)
	}
	cited := regexp.MustCompile(`\bRFC (\d{3,4})\b`)
	listed := map[string]bool{}
	for _, m := range cited.FindAllSubmatch(list, -1) {
		listed[string(m[1])] = true
	}
	missing := map[string]string{}
	seen := map[string]bool{}
	for file, path := range goFiles(t) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range cited.FindAllSubmatch(data, -1) {
			seen[string(m[1])] = true
			if !listed[string(m[1])] {
				missing[string(m[1])] = path
			}
		}
	}
	for rfc, path := range missing {
		t.Errorf("RFC %s is cited in %s and not in docs/rfcs.md", rfc, path)
	}
	if !seen["5321"] {
		t.Error("nobody cites RFC 5321: the search has lost its way")
	}
}

// TestShownMakeTargetsExist checks every `make target` that README and docs show.
func TestShownMakeTargetsExist(t *testing.T) {
	root := rootDir(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `).FindAllSubmatch(makefile, -1) {
		targets[string(m[1])] = true
	}
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, file := range append(docs, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z0-9-]+)").FindAllSubmatch(data, -1) {
			shown++
			if !targets[string(m[1])] {
				t.Errorf("%s shows `make %s`, which the Makefile does not have", filepath.Base(file), m[1])
			}
		}
	}
	if shown == 0 {
		t.Error("no document shows a make target: the search has lost its way")
	}
}
