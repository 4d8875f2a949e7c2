// SPDX-License-Identifier: Apache-2.0

//go:build chaos

package crashpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// left counts down the hits of the chosen point. It is the process's, as the process is what ends.
var left atomic.Int64

var chosen = sync.OnceValue(func() string {
	name, count, counted := strings.Cut(os.Getenv("POSTRIDER_CRASH_AT"), ":")
	n := int64(1)
	if counted {
		var err error
		if n, err = strconv.ParseInt(count, 10, 64); err != nil || n < 1 {
			panic(fmt.Sprintf("POSTRIDER_CRASH_AT: %q is not a number above 0", count))
		}
	}
	left.Store(n)
	return name
})

// At ends the process as kill -9 does when this is the chosen point, hit for the chosen time.
func At(name string) {
	if name != chosen() || left.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // nothing follows
}
