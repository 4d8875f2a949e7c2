// SPDX-License-Identifier: Apache-2.0

package room

import (
	"fmt"
	"syscall"
)

// DiskOf measures the file system a folder lies on, as a user without privileges may fill it.
func DiskOf(folder string) Disk {
	return func() (int, error) {
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
}
