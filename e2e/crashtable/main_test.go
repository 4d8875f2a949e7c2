// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain lets eight rows run side by side unless -parallel says less: they wait most of their time, for minutes that
// are those of queue.md and cannot be made shorter.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "8"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
