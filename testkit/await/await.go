// SPDX-License-Identifier: Apache-2.0

// Package await waits in tests for what can only be asked for: a state behind a server, or in another goroutine that
// tells nobody. Where there is a channel or a callback, that is what a test waits for.
package await

import (
	"testing"
	"time"
)

// Patience is how long Until waits: far longer than anything a test waits for takes, also on a busy machine.
const Patience = 30 * time.Second

// pause is the time between two questions.
const pause = 5 * time.Millisecond

// Until asks until ok says yes, and fails the test when it has not after Patience. what is the state in plain words.
func Until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(Patience); !ok(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %s", Patience, what)
		}
	}
}
