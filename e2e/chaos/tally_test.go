// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// logs are the two files a tally reads.
func logs(t *testing.T, accepted, sink string) (acceptedLog, sinkLog string) {
	t.Helper()
	dir := t.TempDir()
	acceptedLog, sinkLog = filepath.Join(dir, "accepted"), filepath.Join(dir, "sink")
	for name, text := range map[string]string{acceptedLog: accepted, sinkLog: sink} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return acceptedLog, sinkLog
}

func TestTally(t *testing.T) {
	mark := func(id, to string) map[delivery]bool { return map[delivery]bool{{id, to}: true} }
	for _, c := range []struct {
		name, accepted, sink string
		marked               map[delivery]bool
		want                 Result
	}{
		{"delivered", "1 plain.1 a@x\n", "plain.1 a@x\n", nil, Result{Accepted: 1, Delivered: 1}},
		{"lost", "1 plain.1 a@x\n1 plain.2 a@x\n", "plain.2 a@x\n", nil, Result{Accepted: 2, Delivered: 1, Lost: 1}},
		{"one recipient of two", "1 split.1 a@x b@x\n", "split.1 a@x\n", nil, Result{Accepted: 1, Lost: 1}},
		{"not accepted and delivered", "", "plain.1 a@x\n", nil, Result{}},
		{"last line not ended", "1 plain.1 a@x\n1 plain.2 a@", "plain.1 a@x\n", nil, Result{Accepted: 1, Delivered: 1}},
		{"twice", "1 plain.1 a@x\n", "plain.1 a@x\nplain.1 a@x\n", nil, Result{Accepted: 1, Delivered: 1, UnmarkedDuplicate: 1}},
		{"twice, the wrong one marked", "1 plain.1 a@x\n", "plain.1 a@x\nplain.1 a@x\n", mark("plain.1", "b@x"), Result{Accepted: 1, Delivered: 1, UnmarkedDuplicate: 1, MarkedWithoutNeed: 1}},
		{"twice and marked", "1 plain.1 a@x\n", "plain.1 a@x\nplain.1 a@x\n", mark("plain.1", "a@x"), Result{Accepted: 1, Delivered: 1, MarkedDuplicates: 1}},
		{"marked without need", "1 plain.1 a@x\n", "plain.1 a@x\n", mark("plain.1", "a@x"), Result{Accepted: 1, Delivered: 1, MarkedWithoutNeed: 1}},
		{"refused, with notification", "1 refused.1@sender.example a@x\n", "n1 s-refused.1@sender.example\n", nil, Result{Accepted: 1, Delivered: 1}},
		{"refused, without", "1 refused.1@sender.example a@x\n", "", nil, Result{Accepted: 1, Lost: 1}},
		{"refused, with two notifications", "1 refused.1@sender.example a@x\n", "n1 s-refused.1@sender.example\nn2 s-refused.1@sender.example\n", nil, Result{Accepted: 1, Delivered: 1, UnmarkedDuplicate: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tally := newTally()
			if err := tally.update(logs(t, c.accepted, c.sink)); err != nil {
				t.Fatal(err)
			}
			if got, doubts := tally.judge(c.marked); got != c.want {
				t.Errorf("%+v, want %+v (%v)", got, c.want, doubts)
			}
		})
	}
}

// TestTally_GoesOn: what is appended later is read once.
func TestTally_GoesOn(t *testing.T) {
	acceptedLog, sinkLog := logs(t, "1 plain.1 a@x\n1 pla", "plain.1 a@x\n")
	tally := newTally()
	for _, more := range []string{"", "in.2 a@x\n", ""} {
		f, err := os.OpenFile(acceptedLog, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(more); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if err := tally.update(acceptedLog, sinkLog); err != nil {
			t.Fatal(err)
		}
	}
	if len(tally.accepted) != 2 || tally.delivered[delivery{"plain.1", "a@x"}] != 1 {
		t.Errorf("%v %v", tally.accepted, tally.delivered)
	}
}

func TestState_OverIsNotGoneOnWith(t *testing.T) {
	for _, c := range []struct {
		result *Result
		kept   bool
		aside  int
	}{{nil, true, 0}, {&Result{Accepted: 1}, false, 0}, {&Result{Lost: 1}, false, 1}} {
		dir := filepath.Join(t.TempDir(), "seed-1")
		for range 2 {
			if err := openState(dir); err != nil {
				t.Fatal(err)
			}
			if c.result == nil {
				continue
			}
			if err := save(filepath.Join(dir, resultFile), c.result); err != nil {
				t.Fatal(err)
			}
		}
		if err := save(filepath.Join(dir, "trace"), 1); err != nil {
			t.Fatal(err)
		}
		if err := openState(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "trace")); (err == nil) != c.kept {
			t.Errorf("%+v: kept %v", c.result, err == nil)
		}
		aside, err := filepath.Glob(dir + ".failed-*")
		if err != nil || (len(aside) > 0) != (c.aside > 0) {
			t.Errorf("%+v: set aside %v", c.result, aside)
		}
	}
}

// lines collects what a sink writes down.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// TestSink speaks with the sink as a client does.
func TestSink(t *testing.T) {
	for _, c := range []struct {
		id     string
		rcpts  int
		dots   []string // replies to the dot, transaction by transaction; "" is a lost connection
		logged int
	}{
		{"plain.1@s", 1, []string{"250", "250"}, 2},
		{"deferred.1@s", 1, []string{"451", "250"}, 1},
		{"ambiguous.1@s", 1, []string{"", "250"}, 2},
		{"refused.1@s", 1, []string{"550", "550"}, 0},
		{"split.1@s", 3, []string{"250"}, 2},
	} {
		t.Run(c.id, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			log := &lines{}
			go newSink(log).serve(l)
			for _, want := range c.dots {
				if got := transact(t, l.Addr().String(), c.id, c.rcpts); got != want {
					t.Errorf("the dot was answered %q, want %q", got, want)
				}
			}
			log.mu.Lock()
			defer log.mu.Unlock()
			if n := strings.Count(log.text.String(), c.id+" r"); n != c.logged {
				t.Errorf("%d deliveries written down, want %d:\n%s", n, c.logged, log.text.String())
			}
		})
	}
}

// TestTally_LongestGap: between two of one client, whoever wrote first; not between two clients.
func TestTally_LongestGap(t *testing.T) {
	accepted := "1000 plain.1.0@s a@x\n1700 plain.1.2@s a@x\n1600 plain.1.1@s a@x\n1900 plain.1.3@s a@x\n" +
		"9000 plain.2.0@s a@x\n9100 plain.2.1@s a@x\n"
	tally := newTally()
	if err := tally.update(logs(t, accepted, "")); err != nil {
		t.Fatal(err)
	}
	if tally.rhythm.gap != 700 {
		t.Errorf("%d ms, want 700", tally.rhythm.gap)
	}
	if err := newTally().update(logs(t, "soon plain.1.0@s a@x\n", "")); err == nil {
		t.Error("a line without a time is read")
	}
}
