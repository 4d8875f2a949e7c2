// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "client":
		os.Exit(runClient())
	case "sink":
		os.Exit(runSink())
	}
	os.Exit(m.Run())
}

// shapes are all of them, by the names CHAOS_SHAPE has. Without it the first two share the rounds.
func shapes(w *world) map[string]shape {
	two := layout{world: w}
	return map[string]shape{
		"all-in-one": &allInOne{world: w}, "two-senders": &twoSenders{two}, "cluster": &cluster{two}, "nats-away": &natsAway{two},
		"suspended": &suspended{two}, "purge": &purge{allInOne{world: w}},
		"takeover": &takeover{layout: two},
	}
}

// TestChaos is make chaos. Without the folder that its state is kept in it is a short one, without the further round.
func TestChaos(t *testing.T) {
	folder, few := os.Getenv("CHAOS_STATE"), os.Getenv("CHAOS_STATE") == ""
	if few {
		folder = t.TempDir()
	}
	rounds, seed, rate := number(t, "CHAOS_ROUNDS", 3), number(t, "CHAOS_SEED", 1), number(t, "CHAOS_RATE", 100)
	dir, only := filepath.Join(folder, "seed-"+strconv.Itoa(seed)), os.Getenv("CHAOS_SHAPE")
	if only != "" {
		dir = filepath.Join(folder, only+"-seed-"+strconv.Itoa(seed))
	}
	if err := openState(dir); err != nil {
		t.Fatal(err)
	}
	todo := map[string]int{"all-in-one": rounds - rounds/3, "two-senders": rounds / 3}
	if only != "" {
		todo = map[string]int{only: rounds}
	}
	total := Result{}
	for _, name := range slices.Sorted(maps.Keys(todo)) {
		total = total.plus(runShape(t, name, filepath.Join(dir, name), options{
			seed: seed, rate: rate, rounds: todo[name], few: few, hasty: few,
		}))
	}
	if t.Failed() && total.Lost == 0 && total.UnmarkedDuplicate == 0 {
		return // the harness itself failed: the next call goes on
	}
	if err := save(filepath.Join(dir, resultFile), total); err != nil {
		t.Fatal(err)
	}
}

// runShape runs one shape, or takes its result when it is there, and fails the test when mail is lost or came twice
// without a mark.
func runShape(t *testing.T, name, dir string, o options) (r Result) {
	t.Helper()
	if load(filepath.Join(dir, resultFile), &r) != nil {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, dir, o)
			s := shapes(w)[name]
			if s == nil {
				t.Fatalf("CHAOS_SHAPE=%q is none of %q", name, slices.Sorted(maps.Keys(shapes(w))))
			}
			r = w.run(s)
			w.must(save(filepath.Join(dir, resultFile), r))
		})
	}
	text, err := json.Marshal(r)
	t.Logf("%s: %s %v", name, text, err)
	if r.Lost > 0 || r.UnmarkedDuplicate > 0 {
		t.Errorf("%s: %d lost, %d duplicates without a mark", name, r.Lost, r.UnmarkedDuplicate)
	}
	if r.Accepted == 0 {
		t.Errorf("%s: nothing was accepted", name)
	}
	return r
}

func number(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: must be a number above 0", name, text)
	}
	return n
}
