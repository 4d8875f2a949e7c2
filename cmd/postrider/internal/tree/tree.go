// SPDX-License-Identifier: Apache-2.0

// Package tree draws nodes as an indented tree for a terminal. It knows nothing of mail.
package tree

import (
	"fmt"
	"io"
	"strings"
)

// Node is one line of the tree and what stands below it.
type Node struct {
	Text     string
	Children []*Node
}

// Add appends a child with the formatted text and returns it.
func (n *Node) Add(format string, args ...any) *Node {
	child := &Node{Text: fmt.Sprintf(format, args...)}
	n.Children = append(n.Children, child)
	return child
}

// Write draws n and everything below it. Control characters in a text are drawn as "?", so that what a remote
// host said cannot move the cursor.
func Write(w io.Writer, n *Node) error {
	var b strings.Builder
	b.WriteString(printable(n.Text) + "\n")
	draw(&b, n.Children, "")
	_, err := io.WriteString(w, b.String())
	return err
}

func draw(b *strings.Builder, nodes []*Node, indent string) {
	for i, n := range nodes {
		branch, below := "├─ ", "│  "
		if i == len(nodes)-1 {
			branch, below = "└─ ", "   "
		}
		b.WriteString(indent + branch + printable(n.Text) + "\n")
		draw(b, n.Children, indent+below)
	}
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, text)
}
