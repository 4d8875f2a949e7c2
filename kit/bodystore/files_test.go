// SPDX-License-Identifier: Apache-2.0

package bodystore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestFilesOutliveTheirStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	data := content(t, 100)
	ref := put(t, first, "id", data)
	second, err := NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(open(t, second, ref)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestFilesCutShortAreMissing(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	ref := put(t, f, "id", content(t, 100))
	if err := os.Truncate(f.path("id"), 99); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(testContext(t), ref); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v, want ErrMissing", err)
	}
}

func TestFilesBodyStaysOpenWhenDeleted(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	data := content(t, 1000)
	ref := put(t, f, "id", data)
	b := open(t, f, ref)
	if err := f.Delete(testContext(t), ref); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestFilesSweepOldHalfWrittenFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(f.dir, tmpDir, "old.1"), filepath.Join(f.dir, tmpDir, "young.2")
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFiles(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file of two days ago: %v", err)
	}
	if _, err := os.Stat(young); err != nil { // another store may be writing it
		t.Errorf("a file of this moment: %v", err)
	}
}

func TestFilesRefuseAnUnusableDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFiles(path); err == nil {
		t.Error("a file was taken for a directory")
	}
}

// What the net package asks of a reader before it uses sendfile.
func TestFilesBodyFitsSendfile(t *testing.T) {
	t.Parallel()
	f := newFiles(t)
	data := content(t, 1<<20)
	b := open(t, f, put(t, f, "id", data))
	if _, ok := b.(interface {
		fs.File
		io.Seeker
		io.WriterTo
		syscall.Conn
	}); !ok {
		t.Errorf("%T would be copied", b)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	sent := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			sent <- err
			return
		}
		_, err = io.Copy(c, b)
		sent <- errors.Join(err, c.Close())
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	got, err := io.ReadAll(c)
	if err := errors.Join(err, <-sent); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func BenchmarkFilesPut(b *testing.B) {
	for _, size := range []int{64 << 10, 256 << 10, 4 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := newFiles(b)
			data := content(b, size)
			b.SetBytes(int64(size))
			i := 0
			for b.Loop() {
				ref := put(b, f, fmt.Sprint(i), data)
				i++
				b.StopTimer()
				if err := f.Delete(b.Context(), ref); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
