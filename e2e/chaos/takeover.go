// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// takeover is a layout in which a sender is killed and stays away until the other has all its partitions.
type takeover struct {
	layout
	took map[time.Duration]time.Duration // by lease_ttl: from the kill until the last partition was taken over
}

const (
	partitions = 8
	// takeoverWithin bounds how long it is waited for.
	takeoverWithin = time.Minute
)

func (s *takeover) round(i int, random *rand.Rand) {
	s.t.Helper()
	s.owned(takeoverWithin, func(owners map[int]ownerLine) bool {
		return len(owners) == partitions && len(namesOf(owners)) == len(senders)
	})
	time.Sleep(between(random, longLife, 2*longLife))
	victim := senders[i%len(senders)]
	killed := time.Now()
	s.done["kill "+victim]++
	s.crash(victim)
	owners := s.owned(takeoverWithin, func(owners map[int]ownerLine) bool {
		return len(owners) == partitions && !slices.Contains(namesOf(owners), victim)
	})
	for _, o := range owners {
		if s.took == nil {
			s.took = map[time.Duration]time.Duration{}
		}
		s.took[s.lease] = max(s.took[s.lease], o.at.Sub(killed))
	}
	s.launch(victim)
}

// further does the same with the default lease.
func (s *takeover) further(random *rand.Rand) (done bool) {
	s.t.Helper()
	s.lease = defaultLease
	for _, name := range append(slices.Clone(senders), "gateway", "dsn") {
		s.crash(name)
	}
	s.settle()
	s.round(0, random)
	return true
}

// ownerLine is a line of a sender's log that says that it has a partition.
type ownerLine struct {
	name string
	at   time.Time
}

func namesOf(owners map[int]ownerLine) []string {
	names := make([]string, 0, len(senders))
	for _, o := range owners {
		names = append(names, o.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// owned waits until the partitions are owned as is wanted, going by what the senders write.
func (s *takeover) owned(limit time.Duration, ok func(map[int]ownerLine) bool) map[int]ownerLine {
	s.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		owners := map[int]ownerLine{}
		for _, name := range senders {
			log, err := os.ReadFile(filepath.Join(s.dir, "log", name+".log"))
			s.must(err)
			for text := range bytes.Lines(log) {
				var line struct {
					Msg       string
					Time      time.Time
					Partition int
				}
				if !bytes.Contains(text, []byte(`"partition taken over"`)) || json.Unmarshal(text, &line) != nil {
					continue
				}
				if line.Time.After(owners[line.Partition].at) {
					owners[line.Partition] = ownerLine{name: name, at: line.Time}
				}
			}
		}
		if ok(owners) {
			return owners
		}
		if time.Now().After(end) {
			s.t.Fatalf("after %s the partitions are owned by %v", limit, owners)
		}
	}
}

func (s *takeover) measure(_ jetstream.JetStream, r *Result) {
	r.Takeover, r.TakeoverDefault = s.took[shortLease].Seconds(), s.took[defaultLease].Seconds()
	r.LongestGap = float64(s.tally.rhythm.gap) / 1000
}
