// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/testkit/bustest"
)

// startServer starts a server without streams.
func startServer(tb testing.TB, change ...func(*server.Options)) *bustest.Server {
	tb.Helper()
	return bustest.StartWith(tb, bustest.Options{Configure: func(o *server.Options) {
		for _, c := range change {
			c(o)
		}
	}})
}

// startBus starts a server with all streams of one partition.
func startBus(tb testing.TB, change ...func(*Layout)) (*bustest.Server, jetstream.JetStream) {
	tb.Helper()
	s := startServer(tb)
	l := Layout{Partitions: 1, RetryMinutes: []int{0, 5}}
	for _, c := range change {
		c(&l)
	}
	if err := Ensure(testContext(tb), s.JetStream(), l); err != nil {
		tb.Fatal(err)
	}
	return s, s.JetStream()
}

// client makes a connection of its own.
func client(tb testing.TB, s *bustest.Server) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(s.Connect())
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

// loseAnswers lets do run while the server's answers are held back, then loses them for good.
func loseAnswers(s *bustest.Server, do func()) {
	s.HoldReplies()
	do()
	s.CutConnections()
	s.ReleaseReplies()
}

// lastRevision is the last sequence of the bucket of leases, asked from the server itself.
func lastRevision(tb testing.TB, s *server.Server) uint64 {
	tb.Helper()
	info, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		tb.Fatal(err)
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Name == "KV_"+BucketOwners {
				return stream.State.LastSeq
			}
		}
	}
	return 0
}
