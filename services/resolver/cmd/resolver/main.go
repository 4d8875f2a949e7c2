// SPDX-License-Identifier: Apache-2.0

// Command resolver answers which hosts take the mail of a domain.
package main

import (
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/services/resolver"
)

func main() { runner.Main("resolver", resolver.Default(), resolver.New) }
