// SPDX-License-Identifier: Apache-2.0

// Command program passes two points three times and says so before each.
package main

import (
	"fmt"

	"github.com/postrider/postrider/kit/crashpoint"
)

func main() {
	for n := 1; n <= 3; n++ {
		fmt.Printf("%da\n", n)
		crashpoint.At("a")
		fmt.Printf("%db\n", n)
		crashpoint.At("b")
	}
}
