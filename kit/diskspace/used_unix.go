// SPDX-License-Identifier: Apache-2.0

package diskspace

import (
	"fmt"
	"syscall"
)

// Used returns how full the file system is that a folder lies on, in percent, as a user without privileges may fill it.
func Used(folder string) (percent int, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(folder, &s); err != nil {
		return 0, fmt.Errorf("disk of %s: %w", folder, err)
	}
	used := s.Blocks - s.Bfree
	usable := used + s.Bavail
	if usable == 0 {
		return 0, nil
	}
	return int(used * 100 / usable), nil
}
