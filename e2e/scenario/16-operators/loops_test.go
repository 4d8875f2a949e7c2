// SPDX-License-Identifier: Apache-2.0

package operators_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
)

// TestL07_OrdinaryMailIsHeld: with gateway.loop.hold_ordinary what a loop rule would only tell of waits for an operator.
// It is shown as held from the beginning, no host is asked for it, and a release delivers it.
func TestL07_OrdinaryMailIsHeld(t *testing.T) {
	w := start(t, suite.Settings{"gateway.loop.report_equal": 2, "gateway.loop.hold_ordinary": true})
	w.ready()
	to := "person@recipient.example"
	first, second := w.submit(to), w.submit(to)
	w.await(first, delivered)
	w.await(second, held)
	w.arrived(1)
	if said := w.run("explain", second); !strings.Contains(said, "held until an operator releases it") {
		t.Errorf("explain does not say that the message is held, and why:\n%s", said)
	}
	w.run("queue", "release", second)
	w.await(second, delivered)
	w.arrived(2)
}
