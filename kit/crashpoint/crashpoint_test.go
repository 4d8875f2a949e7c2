// SPDX-License-Identifier: Apache-2.0

package crashpoint_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/postrider/postrider/kit/crashpoint"
)

// TestPoints: every point that is listed stands in the code exactly once, and every one in the code is listed.
func TestPoints(t *testing.T) {
	found := map[string]int{}
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.Name() == "testdata" {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for rest := string(text); err == nil; {
			_, after, ok := strings.Cut(rest, `crashpoint.At("`)
			if !ok {
				break
			}
			name, tail, _ := strings.Cut(after, `"`)
			found[name]++
			rest = tail
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range crashpoint.All() {
		if found[name] != 1 {
			t.Errorf("%s stands in the code %d times", name, found[name])
		}
	}
	for name := range found {
		if !slices.Contains(crashpoint.All(), name) {
			t.Errorf("%s is not listed", name)
		}
	}
}

// TestAt_EndsTheProcess runs a program built with the tag and looks how it ends.
func TestAt_EndsTheProcess(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-tags", "chaos", "-o", program, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if out, err := exec.Command("go", "build", "-o", plain, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, c := range []struct {
		program, at, printed string
		killed               bool
	}{
		{program, "b", "1a 1b", true},
		{program, "b:3", "1a 1b 2a 2b 3a 3b", true},
		{program, "c", "1a 1b 2a 2b 3a 3b", false},
		{program, "", "1a 1b 2a 2b 3a 3b", false},
		{plain, "b", "1a 1b 2a 2b 3a 3b", false},
	} {
		t.Run(fmt.Sprintf("%s %q", filepath.Base(c.program), c.at), func(t *testing.T) {
			cmd := exec.Command(c.program)
			cmd.Env = append(os.Environ(), "POSTRIDER_CRASH_AT="+c.at)
			out, err := cmd.Output()
			if got := strings.Join(strings.Fields(string(out)), " "); got != c.printed {
				t.Errorf("printed %q, want %q", got, c.printed)
			}
			exit, _ := errors.AsType[*exec.ExitError](err)
			killed := exit != nil && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			if killed != c.killed {
				t.Errorf("ended with %v, killed should be %v", err, c.killed)
			}
		})
	}
}
