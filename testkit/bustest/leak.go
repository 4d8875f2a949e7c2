// SPDX-License-Identifier: Apache-2.0

package bustest

import "go.uber.org/goleak"

// LeakOptions are the goleak options for the end of a test binary that ran servers of this package. nats-server 2.15.2
// and nats.go 1.55.0 leave no goroutine once stopped, so there is nothing to ignore today; a later version of them
// that leaves one is dealt with here, for all tests. A check inside a test, while a server runs, takes
// goleak.IgnoreCurrent at a point after Start instead.
func LeakOptions() []goleak.Option {
	return nil
}
