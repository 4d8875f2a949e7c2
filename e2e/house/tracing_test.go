// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSpansOfTheCatalogueAreMade holds docs/tracing.md against the code, both ways: each span it lists is started
// somewhere, and each span that is started by a fixed name is listed.
func TestSpansOfTheCatalogueAreMade(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(rootDir(t), "docs", "tracing.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (.+?) \|`).FindAllStringSubmatch(string(data), -1) {
		for _, name := range regexp.MustCompile("`((?:gateway|queue|sender|resolver|dns|smtp|dsn)\\.[a-z_]+)`").FindAllStringSubmatch(row[1], -1) {
			listed[name[1]] = true
		}
	}
	quoted := regexp.MustCompile(`"((?:gateway|queue|sender|resolver|dns|smtp|dsn)\.[a-z_]+)"`)
	started := regexp.MustCompile(`\.Start\([^"\n]*"((?:gateway|queue|sender|resolver|dns|smtp|dsn)\.[a-z_]+)"`)
	made := map[string]bool{}
	for file, path := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") || !strings.HasPrefix(path, "services/") {
			continue
		}
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllSubmatch(code, -1) {
			made[string(m[1])] = true
		}
		for _, m := range started.FindAllSubmatch(code, -1) {
			if name := string(m[1]); !listed[name] {
				t.Errorf("%s starts %s, which docs/tracing.md does not list", path, name)
			}
		}
	}
	for name := range listed {
		if !made[name] {
			t.Errorf("docs/tracing.md lists %s, which nobody makes", name)
		}
	}
	if len(listed) < 10 {
		t.Errorf("only %v found in docs/tracing.md: the search has lost its way", listed)
	}
}
