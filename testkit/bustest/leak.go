// SPDX-License-Identifier: Apache-2.0

package bustest

import "go.uber.org/goleak"

// LeakOptions are the goleak options for a test binary that ran servers of this package.
func LeakOptions() []goleak.Option {
	return nil
}
