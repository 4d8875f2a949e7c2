// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
)

// TestShownCommandsExist checks every `postrider` command line that README and docs show: its command and its flags
// must be known to the program.
func TestShownCommandsExist(t *testing.T) {
	root := rootDir(t)
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	program := suite.Program(t, "postrider")
	help := map[string]string{}
	shown := 0
	for _, file := range append(docs, filepath.Join(root, "README.md")) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|`)(?:bin/|deploy/)?postrider ((?:config print|queue [a-z]+|[a-z]+)\\b)([^`\n]*)").FindAllStringSubmatch(string(data), -1) {
			shown++
			command := m[1]
			if _, asked := help[command]; !asked {
				help[command] = run(t, program, append(strings.Fields(command), "--help")...)
			}
			for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(m[2], -1) {
				if !strings.Contains(help[command], flag) {
					t.Errorf("%s shows `postrider %s`, which has no %s", filepath.Base(file), command, flag)
				}
			}
		}
	}
	if shown < 5 {
		t.Errorf("only %d command lines found: the search has lost its way", shown)
	}
}
