// SPDX-License-Identifier: Apache-2.0

// Command gateway takes mail in: see package gateway.
package main

import (
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/services/gateway"
)

func main() { runner.Main("gateway", gateway.Default(), gateway.New) }
