// SPDX-License-Identifier: Apache-2.0

package report

import "testing"

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
