// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// Settings are configuration keys with dots, such as "sender.timeouts.greeting", and their values.
type Settings map[string]any

// file writes the sections named as a configuration file. JSON is YAML, so the encoder of the standard library does.
func (s Settings) file(t testing.TB, path string, sections ...string) {
	t.Helper()
	root := map[string]any{}
	for key, value := range s {
		parts := strings.Split(key, ".")
		if !slices.Contains(sections, parts[0]) {
			continue
		}
		at := root
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = value
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatalf("encode configuration: %v", err)
	}
	writeFile(t, path, string(data))
}

// with returns s overlaid by more.
func (s Settings) with(more Settings) Settings {
	all := maps.Clone(s)
	maps.Copy(all, more)
	return all
}

func writeFile(t testing.TB, path string, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
