// SPDX-License-Identifier: Apache-2.0

package bodystore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	fileKind = "file"
	tmpDir   = "tmp"

	// staleTmp is the age at which a half written file is certainly nobody's any more.
	staleTmp = 24 * time.Hour
	// usageFor is how long a counted usage is believed.
	usageFor = 5 * time.Second
)

// Files keeps each content in a file: <dir>/<two digits of a hash>/<id>. It is written to <dir>/tmp, fsynced, renamed,
// and the directory fsynced. References are "file:<id>/<size>".
type Files struct {
	dir string

	mu      sync.Mutex
	usage   int64
	counted time.Time
}

// NewFiles opens the store below a directory, which is made if it is missing. Several Files may share a directory.
func NewFiles(dir string) (*Files, error) {
	f := &Files{dir: filepath.Join(dir, "bodies")}
	if err := os.MkdirAll(filepath.Join(f.dir, tmpDir), 0o700); err != nil {
		return nil, fmt.Errorf("open body store: %w", err)
	}
	for shard := range 256 {
		if err := os.Mkdir(filepath.Join(f.dir, hex.EncodeToString([]byte{byte(shard)})), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("open body store: %w", err)
		}
	}
	for _, d := range []string{f.dir, dir} {
		if err := syncDir(d); err != nil {
			return nil, fmt.Errorf("open body store: %w", err)
		}
	}
	return f, f.sweepTmp(time.Now().Add(-staleTmp))
}

// Put implements Store.
func (f *Files) Put(ctx context.Context, id string, r io.Reader) (ref string, size int64, err error) {
	if err := checkID(id); err != nil {
		return "", 0, err
	}
	tmp, err := os.CreateTemp(filepath.Join(f.dir, tmpDir), id+".*")
	if err != nil {
		return "", 0, fmt.Errorf("store content %s: %w", id, err)
	}
	if size, err = f.write(ctx, tmp, id, r); err != nil {
		_ = os.Remove(tmp.Name())
		return "", 0, fmt.Errorf("store content %s: %w", id, err)
	}
	f.mu.Lock()
	f.usage += size
	f.mu.Unlock()
	return fileKind + ":" + id + "/" + strconv.FormatInt(size, 10), size, nil
}

// write fills tmp and moves it to its place; tmp is closed.
func (f *Files) write(ctx context.Context, tmp *os.File, id string, r io.Reader) (int64, error) {
	size, err := io.Copy(tmp, limit(ctx, r))
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return 0, err
	}
	path := f.path(id)
	if err := os.Rename(tmp.Name(), path); err != nil {
		return 0, err
	}
	return size, syncDir(filepath.Dir(path))
}

// Open implements Store.
func (f *Files) Open(_ context.Context, ref string) (Body, error) {
	id, n, err := parseRef(ref, fileKind, 1)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(f.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("content %s: %w", id, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("open content %s: %w", id, err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open content %s: %w", id, err), file.Close())
	}
	if info.Size() != n[0] {
		_ = file.Close()
		return nil, fmt.Errorf("content %s has %d bytes instead of %d: %w", id, info.Size(), n[0], ErrMissing)
	}
	return &fileBody{File: file, size: n[0]}, nil
}

// fileBody has the methods of *os.File by which io.Copy to a TCP connection becomes sendfile.
type fileBody struct {
	*os.File
	size int64
}

func (b *fileBody) Size() int64 { return b.size }

// Delete implements Store.
func (f *Files) Delete(_ context.Context, ref string) error {
	id, n, err := parseRef(ref, fileKind, 1)
	if err != nil {
		return err
	}
	err = os.Remove(f.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete content %s: %w", id, err)
	}
	f.mu.Lock()
	f.usage -= n[0]
	f.mu.Unlock()
	return nil
}

// List implements Store. Half written files are not listed; NewFiles removes them once they are a day old.
func (f *Files) List(ctx context.Context, olderThan time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := f.walk(ctx, func(path string, info fs.FileInfo) error {
			if !info.ModTime().Before(olderThan) {
				return nil
			}
			id := filepath.Base(path)
			e := Entry{
				Ref: fileKind + ":" + id + "/" + strconv.FormatInt(info.Size(), 10), ID: id, Size: info.Size(), Stored: info.ModTime(),
			}
			if !yield(e, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// Usage implements Store. The files are counted at most every 5 s; in between what this Files stores and deletes is
// added and taken off.
func (f *Files) Usage(ctx context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.counted.IsZero() && time.Since(f.counted) < usageFor {
		return f.usage, nil
	}
	var total int64
	err := f.walk(ctx, func(_ string, info fs.FileInfo) error {
		total += info.Size()
		return nil
	})
	if err != nil {
		return 0, err
	}
	f.usage, f.counted = total, time.Now()
	return total, nil
}

// walk calls fn for each stored file. What vanishes meanwhile is passed over.
func (f *Files) walk(ctx context.Context, fn func(path string, info fs.FileInfo) error) error {
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == tmpDir:
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return fn(path, info)
	})
	if err != nil {
		return fmt.Errorf("go over the body store: %w", err)
	}
	return nil
}

func (f *Files) sweepTmp(before time.Time) error {
	entries, err := os.ReadDir(filepath.Join(f.dir, tmpDir))
	if err != nil {
		return fmt.Errorf("open body store: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue
		}
		if err := os.Remove(filepath.Join(f.dir, tmpDir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("open body store: %w", err)
		}
	}
	return nil
}

func (f *Files) path(id string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return filepath.Join(f.dir, hex.EncodeToString([]byte{byte(h.Sum32())}), id)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
