// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func BenchmarkCompose(b *testing.B) {
	in := whole(input(refused("bob@example.net")), original)
	c := composer()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Compose(in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkComposeHundred is an outcome with as many recipients as a record has.
func BenchmarkComposeHundred(b *testing.B) {
	var results []*eventv1.RecipientResult
	for i := range 100 {
		results = append(results, refused(fmt.Sprintf("r%d@example.net", i)))
	}
	in := whole(input(results...), original)
	c := composer()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Compose(in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkComposeLargest returns an original of the largest size.
func BenchmarkComposeLargest(b *testing.B) {
	in := whole(input(refused("bob@example.net")), original+strings.Repeat("x\r\n", (50<<10-len(original))/3))
	c := composer()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Compose(in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkComposeList is a full list.
func BenchmarkComposeList(b *testing.B) {
	l := listGoldens()["list-storm"]
	for len(l.Lines) < 1000 {
		l.Lines = append(l.Lines, l.Lines...)
	}
	l.Lines = l.Lines[:1000]
	c := composer()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.ComposeList(l); err != nil {
			b.Fatal(err)
		}
	}
}
