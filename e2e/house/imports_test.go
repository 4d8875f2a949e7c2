// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const prefix = "github.com/postrider/postrider/"

// may lists, for each room of the house, the rooms it may import. What is not listed may import nothing of ours.
// Tests may use testkit besides.
var may = map[string][]string{
	"proto":             {"proto"},
	"testkit":           {"testkit"},
	"kit":               {"proto", "kit"},
	"services/gateway":  {"proto", "kit", "services/gateway"},
	"services/resolver": {"proto", "kit", "services/resolver"},
	"services/sender":   {"proto", "kit", "services/sender"},
	"services/dsn":      {"proto", "kit", "services/dsn"},
	"cmd/postrider": {
		"proto", "kit", "testkit", "cmd/postrider",
		"services/gateway", "services/resolver", "services/sender", "services/dsn",
	},
	"e2e": {
		"proto", "kit", "testkit", "cmd/postrider", "e2e",
		"services/gateway", "services/resolver", "services/sender", "services/dsn",
	},
}

// TestImportDirection proves that imports run one way: proto, kit, services, cmd/postrider, e2e, and that no
// service imports another. testkit is a leaf that only tests and the demo use.
func TestImportDirection(t *testing.T) {
	files := 0
	for file, path := range goFiles(t) {
		room := roomOf(path)
		allowed, known := may[room]
		if !known {
			if strings.HasPrefix(path, "tools/") {
				continue
			}
			t.Errorf("%s lies in no room of the house", path)
			continue
		}
		files++
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range tree.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if verdict := judge(room, allowed, imported, strings.HasSuffix(path, "_test.go")); verdict != "" {
				t.Errorf("%s: %s", path, verdict)
			}
		}
	}
	if files < 50 {
		t.Fatalf("only %d Go files looked at: the walk has lost its way", files)
	}
}

// TestImportJudgeBites shows that the judge refuses what it is there to refuse.
func TestImportJudgeBites(t *testing.T) {
	for _, c := range []struct {
		room, imported string
		test, refused  bool
	}{
		{"kit", prefix + "services/sender", false, true},
		{"services/sender", prefix + "services/resolver", false, true},
		{"services/sender", prefix + "services/resolver/internal/route", true, true},
		{"services/sender", prefix + "kit/bus", false, false},
		{"services/sender", prefix + "testkit/smtptest", false, true},
		{"services/sender", prefix + "testkit/smtptest", true, false},
		{"proto", prefix + "kit/rpc", false, true},
		{"testkit", prefix + "kit/bus", true, true},
		{"cmd/postrider", prefix + "services/dsn", false, false},
		{"services/dsn", prefix + "cmd/postrider", true, true},
		{"kit", "google.golang.org/grpc", false, false},
	} {
		if got := judge(c.room, may[c.room], c.imported, c.test); (got != "") != c.refused {
			t.Errorf("judge(%s imports %s, test %v) = %q, refused should be %v", c.room, c.imported, c.test, got, c.refused)
		}
	}
}

func judge(room string, allowed []string, imported string, test bool) string {
	rest, ours := strings.CutPrefix(imported, prefix)
	if !ours {
		return ""
	}
	target := roomOf(rest)
	if test && target == "testkit" {
		return ""
	}
	for _, a := range allowed {
		if a == target {
			return ""
		}
	}
	return room + " must not import " + imported
}

// roomOf is the module a path below the root lies in.
func roomOf(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) > 1 && (parts[0] == "services" || parts[0] == "cmd") {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// goFiles maps each Go file of the tree to its slash path below the root.
func goFiles(t *testing.T) map[string]string {
	t.Helper()
	root := rootDir(t)
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") {
			below, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			files[path] = filepath.ToSlash(below)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func rootDir(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}
