// SPDX-License-Identifier: Apache-2.0

// Command dsn makes delivery status notifications.
package main

import (
	"github.com/postrider/postrider/kit/runner"
	"github.com/postrider/postrider/services/dsn"
)

func main() { runner.Main("dsn", dsn.Default(), dsn.New) }
