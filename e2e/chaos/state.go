// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// resultFile holds the result of a run, or of one shape of it, when it is over.
const resultFile = "result.json"

// state is how far a shape has come; it is kept after each round.
type state struct {
	Next    int  `json:"next"`    // first round not done
	Further bool `json:"further"` // the round with the default lease is done
	Clients int  `json:"clients"` // client processes that were started: each has ids of its own
}

// openState makes the folder of a run ready. One that is there and not over is gone on with. One that is over makes
// place: it is removed when nothing was wrong, and set aside otherwise.
func openState(dir string) error {
	var last Result
	switch err := load(filepath.Join(dir, resultFile), &last); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case last.Lost == 0 && last.UnmarkedDuplicate == 0:
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	default:
		if err := os.Rename(dir, fmt.Sprintf("%s.failed-%d", dir, time.Now().UnixNano())); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o700)
}

func load(name string, v any) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// save replaces a file whole.
func save(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
