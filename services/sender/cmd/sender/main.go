// SPDX-License-Identifier: Apache-2.0

// Command sender delivers queued mail.
package main

import (
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/services/sender"
)

func main() { runner.Main("sender", sender.Default(), sender.New) }
