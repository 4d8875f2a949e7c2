// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/kit/bus"
)

// Result is what a run came to. Its fields count messages.
type Result struct {
	Rounds            int `json:"rounds"`
	Accepted          int `json:"accepted"`
	Delivered         int `json:"delivered"`
	Lost              int `json:"lost"`
	MarkedDuplicates  int `json:"marked_duplicates"`
	UnmarkedDuplicate int `json:"unmarked_duplicates"`
	MarkedWithoutNeed int `json:"marked_without_need"`

	// LongestGap is the longest time in which nothing was accepted, in seconds; of the shapes that measure it.
	LongestGap float64 `json:"longest_gap_seconds,omitempty"`
	// GivenUp counts partitions that a stopped sender found in other hands when it went on, Refused the appends of which
	// it was told so by the fence.
	GivenUp int `json:"partitions_given_up,omitempty"`
	Refused int `json:"refused_by_fence,omitempty"`
	// Takeover is the longest time from the death of a sender until another had the last of its partitions, in seconds, with
	// a queue.lease_ttl of 2 s, TakeoverDefault with the default.
	Takeover        float64 `json:"takeover_seconds,omitempty"`
	TakeoverDefault float64 `json:"takeover_seconds_default_lease,omitempty"`
	// Purged counts the segments of MAIL that were removed.
	Purged uint64 `json:"purged_segments,omitempty"`
}

func (r Result) plus(other Result) Result {
	return Result{
		Rounds: r.Rounds + other.Rounds, Accepted: r.Accepted + other.Accepted, Delivered: r.Delivered + other.Delivered,
		Lost: r.Lost + other.Lost, MarkedDuplicates: r.MarkedDuplicates + other.MarkedDuplicates,
		UnmarkedDuplicate: r.UnmarkedDuplicate + other.UnmarkedDuplicate,
		MarkedWithoutNeed: r.MarkedWithoutNeed + other.MarkedWithoutNeed,
		Takeover:          max(r.Takeover, other.Takeover), TakeoverDefault: max(r.TakeoverDefault, other.TakeoverDefault),
		LongestGap: max(r.LongestGap, other.LongestGap),
		GivenUp:    r.GivenUp + other.GivenUp, Refused: r.Refused + other.Refused, Purged: r.Purged + other.Purged,
	}
}

func (r rhythm) String() string {
	seconds := float64(r.last-r.first) / 1000
	return fmt.Sprintf("the last client's %d messages were accepted in %.0f s (%.0f/s), with %.1f s between two at most",
		r.count, seconds, float64(r.count)/max(1, seconds), float64(r.gap)/1000)
}

// delivery is one message for one recipient.
type delivery struct{ id, recipient string }

// tally is what the client and the sink have written down so far.
type tally struct {
	accepted  map[string][]string        // recipients by id
	delivered map[delivery]int           // how often
	notices   map[string]map[string]bool // ids of notifications by the sender they went to
	offsets   map[string]int64
	rhythm    rhythm
}

// rhythm is how regularly a client's messages are accepted.
type rhythm struct {
	client      string
	first, last int64 // milliseconds
	gap         int64 // the longest between two
	count       int
}

// beat notes that a message of a client was accepted. Between two clients nothing is measured.
func (r *rhythm) beat(client string, at int64) {
	if client != r.client {
		r.client, r.first, r.last, r.count = client, at, at, 0
	}
	r.count++
	r.gap = max(r.gap, at-r.last)
	r.last = max(r.last, at)
}

func newTally() *tally {
	return &tally{
		accepted: map[string][]string{}, delivered: map[delivery]int{}, notices: map[string]map[string]bool{},
		offsets: map[string]int64{},
	}
}

// update reads on in both logs.
func (t *tally) update(acceptedLog, sinkLog string) error {
	err := t.lines(acceptedLog, 3, func(words []string) error {
		at, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(words[1], ".")
		client, _, _ := strings.Cut(rest, ".")
		t.rhythm.beat(client, at)
		t.accepted[words[1]] = words[2:]
		return nil
	})
	return errors.Join(err, t.lines(sinkLog, 2, func(words []string) error {
		t.delivered[delivery{words[0], words[1]}]++
		if strings.HasSuffix(words[1], "@"+senderDomain) {
			if t.notices[words[1]] == nil {
				t.notices[words[1]] = map[string]bool{}
			}
			t.notices[words[1]][words[0]] = true
		}
		return nil
	}))
}

// lines hands over the whole lines that were appended since the last call. A last line that its writer could not end
// is none. A line has at least so many words.
func (t *tally) lines(name string, least int, take func(words []string) error) error {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(t.offsets[name], io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		words := strings.Fields(line)
		if len(words) < least {
			return fmt.Errorf("%s: a line of %d words at offset %d", name, len(words), t.offsets[name])
		}
		t.offsets[name] += int64(len(line))
		if err := take(words); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

// missing are the accepted messages of which something has not arrived.
func (t *tally) missing() []string {
	var ids []string
	for id, recipients := range t.accepted {
		if !t.arrived(id, recipients) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (t *tally) arrived(id string, recipients []string) bool {
	if strings.HasPrefix(id, kindRefused+".") {
		return len(t.notices["s-"+id]) > 0
	}
	for _, r := range recipients {
		if t.delivered[delivery{id, r}] == 0 {
			return false
		}
	}
	return true
}

// judge compares what arrived twice with the marks. doubts names the unmarked duplicates.
func (t *tally) judge(marked map[delivery]bool) (r Result, doubts []string) {
	r.Accepted, r.Lost = len(t.accepted), len(t.missing())
	r.Delivered = r.Accepted - r.Lost
	twice, unmarked, needless := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for d, n := range t.delivered {
		switch {
		case n > 1 && marked[d]:
			twice[d.id] = true
		case n > 1:
			unmarked[d.id] = true
			doubts = append(doubts, fmt.Sprintf("%s was delivered to %s %d times", d.id, d.recipient, n))
		}
	}
	for sender, ids := range t.notices {
		if len(ids) > 1 {
			unmarked[sender] = true
			doubts = append(doubts, fmt.Sprintf("%s has %d notifications", sender, len(ids)))
		}
	}
	for d := range marked {
		if t.delivered[d] < 2 {
			needless[d.id] = true
		}
	}
	for id := range twice {
		delete(needless, id)
	}
	r.MarkedDuplicates, r.UnmarkedDuplicate, r.MarkedWithoutNeed = len(twice), len(unmarked), len(needless)
	return r, doubts
}

// readMarks returns what a stored outcome marks as possibly delivered twice.
func readMarks(ctx context.Context, js jetstream.JetStream) (map[delivery]bool, error) {
	r, err := bus.NewReader(ctx, js, bus.ReaderOptions{Stream: bus.StreamOutcome})
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // nothing is lost with it
	marked := map[delivery]bool{}
	err = r.ReadToEnd(ctx, func(d bus.Delivery) error {
		if d.Err != nil {
			return d.Err
		}
		for i := range d.Segment.Len() {
			f, err := d.Segment.Frame(i)
			if err != nil {
				return err
			}
			o, err := f.Outcome()
			if err != nil {
				return err
			}
			id := strings.Trim(o.GetContent().GetMessageIdHeader(), "<>")
			for _, result := range o.GetResults() {
				if result.GetPossibleDuplicate() {
					marked[delivery{id, result.GetRecipient().GetAddress()}] = true
				}
			}
		}
		return nil
	})
	return marked, err
}
