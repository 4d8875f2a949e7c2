// SPDX-License-Identifier: Apache-2.0

package bodystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/kit/bus"
	"github.com/postrider/postrider/testkit/bustest"
)

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

func startBus(tb testing.TB) *bustest.Server {
	tb.Helper()
	s := bustest.Start(tb)
	if err := bus.Ensure(testContext(tb), s.JetStream(), bus.Layout{Partitions: 1, RetryMinutes: []int{0}}); err != nil {
		tb.Fatal(err)
	}
	return s
}

func newChunks(tb testing.TB) *Chunks {
	tb.Helper()
	c := NewChunks(startBus(tb).JetStream())
	c.chunk = 1000
	return c
}

func newFiles(tb testing.TB) *Files {
	tb.Helper()
	f, err := NewFiles(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// stores runs a test against both stores.
func stores(t *testing.T, test func(t *testing.T, s Store)) {
	t.Run("files", func(t *testing.T) { t.Parallel(); test(t, newFiles(t)) })
	t.Run("chunks", func(t *testing.T) { t.Parallel(); test(t, newChunks(t)) })
}

func content(tb testing.TB, size int) []byte {
	tb.Helper()
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		tb.Fatal(err)
	}
	return data
}

func put(tb testing.TB, s Store, id string, data []byte) string {
	tb.Helper()
	ref, size, err := s.Put(testContext(tb), id, bytes.NewReader(data))
	if err != nil || size != int64(len(data)) {
		tb.Fatalf("put %d bytes: stored %d, %v", len(data), size, err)
	}
	return ref
}

func open(tb testing.TB, s Store, ref string) Body {
	tb.Helper()
	b, err := s.Open(testContext(tb), ref)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() })
	return b
}

func TestContentsComeBack(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		for i, size := range []int{0, 1, 999, 1000, 1001, 2000, 12345} {
			data := content(t, size)
			b := open(t, s, put(t, s, fmt.Sprintf("id-%d", i), data))
			if b.Size() != int64(size) {
				t.Errorf("size %d, want %d", b.Size(), size)
			}
			if err := iotest.TestReader(b, data); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			if _, err := b.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			var copied bytes.Buffer
			if n, err := io.Copy(&copied, b); err != nil || n != int64(size) || !bytes.Equal(copied.Bytes(), data) {
				t.Errorf("copied %d of %d bytes, %v", n, size, err)
			}
		}
	})
}

func TestBodySeek(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		data := content(t, 5000)
		b := open(t, s, put(t, s, "id", data))
		for _, c := range []struct {
			offset int64
			whence int
			want   int64
		}{{4000, io.SeekStart, 4000}, {-1500, io.SeekCurrent, 2510}, {-10, io.SeekEnd, 4990}, {0, io.SeekEnd, 5000}} {
			at, err := b.Seek(c.offset, c.whence)
			if err != nil || at != c.want {
				t.Fatalf("seek %d from %d: %d, %v; want %d", c.offset, c.whence, at, err, c.want)
			}
			got := make([]byte, min(10, 5000-at))
			if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, data[at:at+int64(len(got))]) {
				t.Errorf("at %d: %v", at, err)
			}
		}
		if _, err := b.Seek(-1, io.SeekStart); err == nil {
			t.Error("seek before the beginning")
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
	})
}

func TestMissingContents(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		ref := put(t, s, "id", content(t, 3500))
		for _, other := range []string{
			strings.Replace(ref, "id", "other", 1),
			strings.Replace(ref, "3500", "3499", 1),
			strings.Replace(ref, "3500", "4500", 1),
			strings.Replace(ref, "3500", "1000", 1),
		} {
			if _, err := s.Open(testContext(t), other); !errors.Is(err, ErrMissing) {
				t.Errorf("%s: %v, want ErrMissing", other, err)
			}
		}
		for range 2 { // the second time it is gone already
			if err := s.Delete(testContext(t), ref); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Open(testContext(t), ref); !errors.Is(err, ErrMissing) {
			t.Errorf("deleted: %v, want ErrMissing", err)
		}
	})
}

func TestForeignReferences(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		foreign := "nats:id/10/1000"
		if _, ok := s.(*Chunks); ok {
			foreign = "file:id/10"
		}
		kind := strings.Split(put(t, s, "id", nil), ":")[0]
		for _, ref := range []string{
			"", foreign, kind + ":", kind + ":id", kind + ":../../etc/passwd/10", kind + ":a.b/10/10", kind + ":id/x/10", kind + ":id/-1/10",
			kind + ":id/01/010", kind + ":id/99999999999999999999/9", kind + ":id/10/0", kind + ":id/10/1000/1",
		} {
			var refErr *RefError
			if _, err := s.Open(testContext(t), ref); !errors.As(err, &refErr) {
				t.Errorf("open %q: %v, want a RefError", ref, err)
			}
			if ref == kind+":id/10/0" {
				continue // Delete needs the id alone
			}
			if err := s.Delete(testContext(t), ref); !errors.As(err, &refErr) {
				t.Errorf("delete %q: %v, want a RefError", ref, err)
			}
		}
	})
}

func TestPutRefusesBadIDs(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		for _, id := range []string{"", ".", "..", "a/b", "a.b", "a*", "ä", "a b", strings.Repeat("x", 65)} {
			if _, _, err := s.Put(testContext(t), id, strings.NewReader("x")); err == nil {
				t.Errorf("id %q was accepted", id)
			}
		}
	})
}

func TestPutThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		broken := errors.New("the caller went away")
		_, _, err := s.Put(testContext(t), "id", io.MultiReader(bytes.NewReader(content(t, 2500)), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.Put(ctx, "id2", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		for e, err := range s.List(testContext(t), time.Now().Add(time.Hour)) {
			t.Errorf("left over: %+v, %v", e, err)
		}
	})
}

func TestListAndUsage(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		if n, err := s.Usage(testContext(t)); err != nil || n != 0 {
			t.Errorf("empty: %d, %v", n, err)
		}
		refs := make(map[string]int64)
		for i := range 5 {
			refs[put(t, s, fmt.Sprintf("id-%d", i), content(t, 1000*i+10))] = int64(1000*i + 10)
		}
		n := 0
		for e, err := range s.List(testContext(t), time.Now().Add(time.Minute)) {
			if err != nil {
				t.Fatal(err)
			}
			if size, ok := refs[e.Ref]; !ok || size != e.Size || !strings.HasPrefix(e.ID, "id-") || time.Since(e.Stored).Abs() > time.Minute {
				t.Errorf("unexpected %+v", e)
			}
			n++
		}
		if n != 5 {
			t.Errorf("listed %d, want 5", n)
		}
		for e, err := range s.List(testContext(t), time.Now().Add(-time.Minute)) {
			t.Errorf("too young: %+v, %v", e, err)
		}
		for range s.List(testContext(t), time.Now().Add(time.Minute)) {
			break // the caller may stop
		}
		full, err := s.Usage(testContext(t))
		if err != nil || full < 10050 {
			t.Errorf("usage %d, %v", full, err)
		}
		for ref := range refs {
			if err := s.Delete(testContext(t), ref); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.Usage(testContext(t)); err != nil || n != 0 {
			t.Errorf("all deleted: %d, %v", n, err)
		}
		if _, ok := s.(*Files); ok {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			for _, err := range s.List(ctx, time.Now()) {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s Store) {
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				data := content(t, 3000+i)
				ref, _, err := s.Put(testContext(t), fmt.Sprintf("id-%d", i), iotest.HalfReader(bytes.NewReader(data)))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := s.Open(testContext(t), ref)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = b.Close() }()
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
					t.Errorf("content %d: %d bytes, %v", i, len(got), err)
				}
			})
		}
		wg.Wait()
	})
}

func TestOpenPicksTheStore(t *testing.T) {
	t.Parallel()
	if s, err := Open(nil, t.TempDir()); err != nil {
		t.Error(err)
	} else if _, ok := s.(*Files); !ok {
		t.Errorf("with a directory: %T", s)
	}
	if s, err := Open(nil, ""); err != nil {
		t.Error(err)
	} else if _, ok := s.(*Chunks); !ok {
		t.Errorf("without: %T", s)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	l := limit(t.Context(), strings.NewReader("0123456789"))
	l.most = 9
	if _, err := io.ReadAll(l); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}
