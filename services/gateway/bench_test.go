// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"sync"
	"testing"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// BenchmarkSubmit takes 2 KiB messages from 50 callers, each flushed to disk before its answer.
func BenchmarkSubmit(b *testing.B) {
	h := start(b)
	r := request(body(text(2 << 10)))
	b.SetBytes(int64(len(r.GetContent())))
	b.ReportAllocs()
	b.SetParallelism(25)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := h.mail.Submit(b.Context(), r); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkSubmitMany takes 2 KiB messages over one stream.
func BenchmarkSubmitMany(b *testing.B) {
	h := start(b)
	r := request(body(text(2 << 10)))
	b.SetBytes(int64(len(r.GetContent())))
	b.ReportAllocs()
	s, err := h.mail.SubmitMany(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range b.N {
			if err := s.Send(&gatewayv1.SubmitManyRequest{Correlation: uint64(i), Envelope: r.GetEnvelope(), Content: r.GetContent()}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	for range b.N {
		answer, err := s.Recv()
		if err != nil || answer.GetAccepted() == nil {
			b.Fatalf("%v, %v", answer, err)
		}
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.StopTimer()
	_ = s.CloseSend()
}
