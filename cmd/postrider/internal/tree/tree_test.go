// SPDX-License-Identifier: Apache-2.0

package tree_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/cmd/postrider/internal/tree"
)

func TestWrite(t *testing.T) {
	root := &tree.Node{Text: "message"}
	first := root.Add("recipient %d", 1)
	first.Add("attempt 1").Add("mx1")
	first.Add("attempt 2")
	root.Add("recipient %d\x1b[2J", 2)
	var b strings.Builder
	if err := tree.Write(&b, root); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"message",
		"├─ recipient 1",
		"│  ├─ attempt 1",
		"│  │  └─ mx1",
		"│  └─ attempt 2",
		"└─ recipient 2?[2J",
		"",
	}, "\n")
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
