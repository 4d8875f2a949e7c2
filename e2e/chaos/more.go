// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
)

// natsAway is a layout whose nats-server is killed and comes back after a while.
type natsAway struct{ layout }

func (s *natsAway) round(_ int, random *rand.Rand) {
	s.t.Helper()
	time.Sleep(between(random, longLife, 3*longLife))
	s.kill(s.stores[0].Name, between(random, 0, 10*shortLease))
}

func (s *natsAway) measure(_ jetstream.JetStream, r *Result) {
	r.LongestGap = float64(s.tally.rhythm.gap) / 1000
}

// suspended is a layout in which a sender is stopped until its lease has run out and another has its partitions, and then
// goes on where it stood.
type suspended struct{ layout }

func (s *suspended) round(_ int, random *rand.Rand) {
	s.t.Helper()
	victim := s.suite.Processes[senders[random.IntN(len(senders))]]
	time.Sleep(between(random, longLife, 2*longLife)) // it has its partitions again
	s.done["stop"]++
	victim.Suspend(s.t)
	time.Sleep(between(random, 2*shortLease, 5*shortLease))
	victim.Signal(syscall.SIGCONT)
}

// measure counts what the stopped ones were told.
func (s *suspended) measure(_ jetstream.JetStream, r *Result) {
	for _, name := range senders {
		log, err := os.ReadFile(filepath.Join(s.dir, "log", name+".log"))
		s.must(err)
		for line := range bytes.Lines(log) {
			text := string(line)
			switch {
			case !strings.Contains(text, `"partition given up"`):
			case strings.Contains(text, "taken over by another owner"):
				r.Refused++
				r.GivenUp++
			case !strings.Contains(text, `"clean":true`):
				r.GivenUp++
			}
		}
	}
}

// purge is the all-in-one that lives long enough to remove what is settled, and ends in the middle of that.
type purge struct{ allInOne }

// purgesBegun is how many of the purges, one a second, find only what is too young to go.
const purgesBegun = int(bus.PurgeStand / time.Second)

func (p *purge) round(i int, random *rand.Rand) {
	p.t.Helper()
	point := []string{"sender.purge.after", "sender.purge.before"}[i%2]
	p.launch(crashAtHit(point, purgesBegun+1+random.IntN(10)))
	p.reachedWithin(one, point, bus.PurgeStand+time.Minute)
}

func (p *purge) further(*rand.Rand) (done bool) { return false }

func (p *purge) measure(js jetstream.JetStream, r *Result) {
	mail, err := js.Stream(p.t.Context(), bus.StreamMail)
	p.must(err)
	r.Purged = mail.CachedInfo().State.FirstSeq - 1
	if r.Purged == 0 {
		p.t.Errorf("nothing was purged")
	}
}
