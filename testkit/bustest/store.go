// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// copyTries bounds how often a store that still changes is copied anew.
const copyTries = 1000

// copyStable copies a directory tree as it lies at one moment: it repeats until nothing changed during the copy. The
// target is emptied first.
func copyStable(to, from string) error {
	for range copyTries {
		before, err := state(from)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		err = os.CopyFS(to, os.DirFS(from))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a file went away meanwhile
		}
		if err != nil {
			return err
		}
		after, err := state(from)
		if err != nil {
			return err
		}
		if maps.Equal(before, after) {
			return nil
		}
	}
	return fmt.Errorf("%s does not come to rest", from)
}

// state is size and time of change of every file.
func state(dir string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		return nil
	})
	return all, err
}
