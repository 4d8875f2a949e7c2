// SPDX-License-Identifier: Apache-2.0

package diskspace_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/postrider/postrider/kit/diskspace"
)

func TestUsed(t *testing.T) {
	folder := t.TempDir()
	if percent, err := diskspace.Used(folder); err != nil || percent < 0 || percent > 100 {
		t.Errorf("%d %%, %v", percent, err)
	}
	if _, err := diskspace.Used(filepath.Join(folder, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
