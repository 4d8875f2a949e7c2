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
}

func (r Result) plus(other Result) Result {
	return Result{
		Rounds: r.Rounds + other.Rounds, Accepted: r.Accepted + other.Accepted, Delivered: r.Delivered + other.Delivered,
		Lost: r.Lost + other.Lost, MarkedDuplicates: r.MarkedDuplicates + other.MarkedDuplicates,
		UnmarkedDuplicate: r.UnmarkedDuplicate + other.UnmarkedDuplicate,
		MarkedWithoutNeed: r.MarkedWithoutNeed + other.MarkedWithoutNeed,
	}
}

// delivery is one message for one recipient.
type delivery struct{ id, recipient string }

// tally is what the client and the sink have written down so far.
type tally struct {
	accepted  map[string][]string        // recipients by id
	delivered map[delivery]int           // how often
	notices   map[string]map[string]bool // ids of notifications by the sender they went to
	offsets   map[string]int64
}

func newTally() *tally {
	return &tally{
		accepted: map[string][]string{}, delivered: map[delivery]int{}, notices: map[string]map[string]bool{},
		offsets: map[string]int64{},
	}
}

// update reads on in both logs.
func (t *tally) update(acceptedLog, sinkLog string) error {
	err := t.lines(acceptedLog, func(words []string) { t.accepted[words[0]] = words[1:] })
	return errors.Join(err, t.lines(sinkLog, func(words []string) {
		t.delivered[delivery{words[0], words[1]}]++
		if strings.HasSuffix(words[1], "@"+senderDomain) {
			if t.notices[words[1]] == nil {
				t.notices[words[1]] = map[string]bool{}
			}
			t.notices[words[1]][words[0]] = true
		}
	}))
}

// lines hands over the whole lines that were appended since the last call. A last line that its writer could not end
// is none.
func (t *tally) lines(name string, take func(words []string)) error {
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
		if len(words) < 2 {
			return fmt.Errorf("%s: a line of %d words at offset %d", name, len(words), t.offsets[name])
		}
		t.offsets[name] += int64(len(line))
		take(words)
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
