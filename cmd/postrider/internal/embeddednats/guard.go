// SPDX-License-Identifier: Apache-2.0

package embeddednats

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const guardText = `This store belongs to a stand-alone server. A member of a NATS cluster that is started on it would delete every stream,
and with them all mail that waits. This file keeps it from starting.
`

// guard makes the store one that a member of a cluster does not start on: where such a server keeps its own state, and a
// stand-alone one nothing, there is a file in the way. Without it the member would take the streams for left-overs of a
// cluster that knows nothing of them, and delete them.
func guard(store string) error {
	folder := filepath.Join(store, "$SYS")
	err := os.MkdirAll(folder, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "_js_"), []byte(guardText), 0o400)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) { // there already, and not ours to write
		return fmt.Errorf("guard the store: %w", err)
	}
	return nil
}
