// SPDX-License-Identifier: Apache-2.0

package bodystore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
)

func TestChunksWithAHoleAreMissing(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3} {
		c := newChunks(t)
		ref := put(t, c, "id", content(t, 3500))
		s, err := c.js.Stream(testContext(t), bus.StreamBodies)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(testContext(t), jetstream.WithPurgeSubject(bus.BodySubject("id", n))); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Open(testContext(t), ref); !errors.Is(err, ErrMissing) {
			t.Errorf("without chunk %d: %v, want ErrMissing", n, err)
		}
	}
}

func TestChunksDeletedWhileOpen(t *testing.T) {
	t.Parallel()
	c := newChunks(t)
	ref := put(t, c, "id", content(t, 3500))
	b := open(t, c, ref)
	if _, err := io.ReadFull(b, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(testContext(t), ref); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(b); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v, want ErrMissing: a content must never end early unnoticed", err)
	}
	if err := c.Delete(testContext(t), "nats:other/1/1"); err != nil {
		t.Error(err)
	}
}

func TestChunksOverARestart(t *testing.T) {
	t.Parallel()
	s := startBus(t)
	c := NewChunks(s.JetStream())
	data := content(t, 3*chunkSize+100)
	ref := put(t, c, "id", data)
	b := open(t, c, ref)
	first := make([]byte, chunkSize)
	if _, err := io.ReadFull(b, first); err != nil {
		t.Fatal(err)
	}
	s.Crash()
	rest, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(append(first, rest...), data) {
		t.Errorf("read %d bytes, %v", len(first)+len(rest), err)
	}
}

func TestChunksWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	s := startBus(t)
	c := NewChunks(s.JetStream())
	ref := put(t, c, "id", []byte("x"))
	s.Stop()
	if _, err := c.Open(testContext(t), ref); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("got %v: unreachable is not missing", err)
	}
	if _, err := c.Usage(testContext(t)); err == nil {
		t.Error("usage without a server")
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := c.Put(testContext(t), "late", bytes.NewReader(content(t, 10)))
		done <- err
	}()
	s.StartAgain()
	if err := <-done; err != nil {
		t.Errorf("a put that met the restart: %v", err)
	}
}

func TestChunksListHalfWrittenContents(t *testing.T) {
	t.Parallel()
	c := newChunks(t)
	if _, err := c.js.Publish(testContext(t), bus.BodySubject("half", 0), content(t, 1000)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range c.List(testContext(t), time.Now().Add(time.Minute)) {
		if n++; err != nil || e.ID != "half" || e.Size != 1000 {
			t.Errorf("got %+v, %v", e, err)
		}
		if _, err := c.Open(testContext(t), e.Ref); !errors.Is(err, ErrMissing) {
			t.Errorf("opened: %v", err)
		}
		if err := c.Delete(testContext(t), e.Ref); err != nil {
			t.Error(err)
		}
	}
	if usage, err := c.Usage(testContext(t)); n != 1 || err != nil || usage != 0 {
		t.Errorf("listed %d, left %d, %v", n, usage, err)
	}
}

func BenchmarkChunksPut(b *testing.B) {
	c := NewChunks(startBus(b).JetStream())
	for _, size := range []int{64 << 10, 256 << 10, 4 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := content(b, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				_ = put(b, c, "id", data)
			}
		})
	}
}
