// SPDX-License-Identifier: Apache-2.0

package await

import (
	"testing"
	"testing/synctest"
	"time"
)

// failing is a test that notes that it failed.
type failing struct {
	testing.TB
	failed bool
}

func (f *failing) Helper()               {}
func (f *failing) Fatalf(string, ...any) { f.failed = true; panic(f) }

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		Until(t, "a second", func() bool { return time.Since(began) >= time.Second })
		if took := time.Since(began); took > time.Second+pause {
			t.Errorf("took %s", took)
		}
		f := &failing{}
		func() {
			defer func() { _ = recover() }()
			Until(f, "never", func() bool { return false })
		}()
		if !f.failed || time.Since(began) < Patience {
			t.Error("did not fail when its patience was over")
		}
	})
}
