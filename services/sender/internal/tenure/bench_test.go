// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/sender/internal/tenure"
)

// BenchmarkDeliver settles stored mail with attempts that cost nothing: what the queue side can do.
func BenchmarkDeliver(b *testing.B) {
	w := newWorld(b, 1)
	for sent := 0; sent < b.N; {
		var batch []*eventv1.QueuedMail
		for range min(256, b.N-sent) {
			m := mail(fmt.Sprintf("m%d", sent), "ok@example.test")
			m.Destination = fmt.Sprintf("d%d.test", sent%50)
			batch = append(batch, m)
			sent++
		}
		w.submit(0, batch...)
	}
	done := make(chan struct{}, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	s := w.start("a", 0, func(_ context.Context, r *tenure.Record) *eventv1.Outcome {
		done <- struct{}{}
		return answer(r)
	}, window(8192))
	for range b.N {
		<-done
	}
	s.stop()
	b.StopTimer()
	if got := w.floor(0, bus.StreamMail); got != uint64((b.N+255)/256)+1 {
		b.Errorf("floor of MAIL is %d", got)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
}
