// SPDX-License-Identifier: Apache-2.0

package loopdetect

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/services/gateway/internal/loopdetect/fingerprint"
	"github.com/postrider/postrider/services/gateway/internal/loopdetect/recurrence"
)

// noStore fails the benchmark when it is asked anything.
type noStore struct{ b testing.TB }

func (s noStore) Get(context.Context, string) ([]byte, uint64, error) {
	s.b.Error("the store was read")
	return nil, 0, errors.New("away")
}

func (s noStore) Put(context.Context, string, []byte, uint64) (bool, error) {
	s.b.Error("the store was written")
	return false, errors.New("away")
}

// ordinary is a message of 2 KiB as people write it.
func ordinary() *fingerprint.Message {
	line := "We met on 12 March and agreed that Ada (ada@reader.example) sends the drawings; see https://x.example/d/4711.\r\n"
	return &fingerprint.Message{
		Recipients: []string{"b@example.com"}, From: "Ada Reader <ada@reader.example>", Subject: "Re: the drawings of house 17",
		ContentType: "text/plain; charset=utf-8", Body: []byte(strings.Repeat(line, 2<<10/len(line))),
	}
}

// BenchmarkL07_OrdinaryMessage is all that the loop rules cost an ordinary message of 2 KiB: header rules, print, count
// and the record. cpu-ns/op is the processor's time alone, which another load of the machine does not change.
func BenchmarkL07_OrdinaryMessage(b *testing.B) {
	key := testKey(b)
	s := NewSealer(key)
	repeats := NewRepeats(key, recurrence.New(noStore{b}, 5, time.Now), Limits{Responses: 5, Report: 50})
	m, to := ordinary(), addresses(1)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	before := threadTime(b)
	for b.Loop() {
		v := s.Check(Message{Received: 1, Recipients: to}, 100)
		v.Decisions = append(v.Decisions, repeats.Judge(b.Context(), m, "01HX0000000000000000000000").Decision)
		v.Record()
	}
	b.ReportMetric(float64(threadTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// threadTime is the processor time this thread has used.
func threadTime(b *testing.B) time.Duration {
	const thread = 1 // RUSAGE_THREAD
	var used syscall.Rusage
	if err := syscall.Getrusage(thread, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
