// SPDX-License-Identifier: Apache-2.0

package enqueue

import (
	"errors"
	"syscall"
)

// noSpace reports a file system without room.
func noSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
