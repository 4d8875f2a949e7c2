// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/kit/bus"
)

// cluster is a layout with three nats-servers, of which the one that leads MAIL is killed in each round.
type cluster struct{ layout }

const (
	members = 3
	// leaderless bounds how long a stream may be without a leader, current how long a member may take to catch up.
	leaderless, current = time.Minute, 2 * time.Minute
)

func (s *cluster) start(lease time.Duration) {
	s.t.Helper()
	for n := range members {
		s.stores = append(s.stores, suite.Member{
			Name: fmt.Sprintf("nats-%d", n+1), Port: portOf(s.t, freePort(s.t)), Route: portOf(s.t, freePort(s.t)),
		})
	}
	s.layout.start(lease)
}

func (s *cluster) round(_ int, random *rand.Rand) {
	s.t.Helper()
	time.Sleep(between(random, longLife, 2*longLife))
	leader := s.mail(leaderless, func(c *jetstream.ClusterInfo) bool { return c.Leader != "" }).Leader
	s.kill(leader, between(random, longLife, 2*longLife))
	s.mail(current, func(c *jetstream.ClusterInfo) bool {
		n := 0
		for _, peer := range c.Replicas {
			if peer.Current && !peer.Offline {
				n++
			}
		}
		return c.Leader != "" && n == members-1
	})
}

// mail waits until the cluster says of the stream MAIL what is wanted.
func (s *cluster) mail(limit time.Duration, ok func(*jetstream.ClusterInfo) bool) *jetstream.ClusterInfo {
	s.t.Helper()
	nc, err := nats.Connect(s.natsURL)
	s.must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	s.must(err)
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		ask, done := context.WithTimeout(ctx, time.Second)
		stream, err := js.Stream(ask, bus.StreamMail)
		done()
		if err == nil {
			if c := stream.CachedInfo().Cluster; ok(c) {
				tick.Stop()
				return c
			}
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%s is not as it should be after %s: %v", bus.StreamMail, limit, err)
		}
	}
}

func (s *cluster) measure(_ jetstream.JetStream, r *Result) {
	r.LongestGap = float64(s.tally.rhythm.gap) / 1000
}
