// SPDX-License-Identifier: Apache-2.0

package mailfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/cmd/postrider/internal/mailfile"
)

func TestCRLF(t *testing.T) {
	for _, c := range []struct {
		in, want string
		err      error
	}{
		{"a: b\n\nc\n", "a: b\r\n\r\nc\r\n", nil},
		{"a: b\r\n\r\nc\r\n", "a: b\r\n\r\nc\r\n", nil},
		{"no newline", "no newline", nil},
		{"", "", nil},
		{"a\r\nb\n", "", mailfile.ErrMixedNewlines},
		{"a\rb\r\n", "", mailfile.ErrMixedNewlines},
		{"a\rb\n", "", mailfile.ErrMixedNewlines},
		{"a\r", "", mailfile.ErrMixedNewlines},
	} {
		got, err := mailfile.CRLF([]byte(c.in))
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("CRLF(%q) = %q, %v; want %q, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.eml")
	if err := os.WriteFile(file, []byte("a: b\n\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := mailfile.Read(file, nil, 100)
	if err != nil || string(got) != "a: b\r\n\r\nc\r\n" {
		t.Errorf("file: %q, %v", got, err)
	}
	got, err = mailfile.Read("-", strings.NewReader("x\n"), 100)
	if err != nil || string(got) != "x\r\n" {
		t.Errorf("standard input: %q, %v", got, err)
	}
	if _, err := mailfile.Read(file, nil, 3); !errors.Is(err, mailfile.ErrTooLarge) {
		t.Errorf("a file over the limit: %v", err)
	}
	if _, err := mailfile.Read(file+"x", nil, 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
