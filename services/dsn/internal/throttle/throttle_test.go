// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// ten is ten o'clock.
var ten = time.Date(2026, time.November, 2, 10, 0, 0, 0, time.UTC)

func usual() Limits {
	return Limits{PerSender: 1000, PerDomain: 10000, PerRecipient: 10, Window: time.Hour}
}

func to(addresses ...string) []Counted {
	var all []Counted
	for _, a := range addresses {
		all = append(all, Counted{Address: a, Status: "5.1.1"})
	}
	return all
}

// only returns what is said of a notification with one recipient.
func only(t *testing.T, v Verdict) Limit {
	t.Helper()
	if len(v.Joined) != 1 {
		t.Fatalf("verdict %+v", v)
	}
	return v.Joined[0]
}

func TestD17_TenPerSenderRecipientAndStatus(t *testing.T) {
	th := New(usual(), time.Time{})
	for i := range 30 {
		v := th.Count(ten.Add(time.Duration(i)*time.Minute), "anna@example.org", to("bob@example.net"))
		want := None
		if i >= 10 {
			want = Recipient
		}
		if got := only(t, v); got != want {
			t.Errorf("notification %d: %q, want %q", i+1, got, want)
		}
		if opened := slices.Contains(v.Opened, Recipient); opened != (i == 10) {
			t.Errorf("notification %d: opened %v", i+1, v.Opened)
		}
		if !v.Due.Equal(ten.Add(time.Hour)) {
			t.Errorf("due %v", v.Due)
		}
	}
	other := []Counted{{Address: "bob@example.net", Status: "4.4.7"}}
	for name, v := range map[string]Verdict{
		"another recipient": th.Count(ten, "anna@example.org", to("carol@example.net")),
		"another sender":    th.Count(ten, "eve@example.org", to("bob@example.net")),
		"another status":    th.Count(ten, "anna@example.org", other),
	} {
		if got := only(t, v); got != None {
			t.Errorf("%s: joined for %s", name, got)
		}
	}
	if got := only(t, th.Count(ten, "anna@EXAMPLE.org", to("bob@Example.NET"))); got != Recipient {
		t.Errorf("domains in other letters: %q", got)
	}
	if got := only(t, th.Count(ten, "Anna@example.org", to("bob@example.net"))); got != None {
		t.Errorf("local parts in other letters: %q; they are other mailboxes", got)
	}
}

func TestD17_AThousandPerSender(t *testing.T) {
	th := New(usual(), time.Time{})
	for i := range 1200 {
		v := th.Count(ten, "anna@example.org", to(fmt.Sprintf("r%d@example.net", i), fmt.Sprintf("q%d@example.net", i)))
		want := None
		if i >= 1000 {
			want = Sender
		}
		if !slices.Equal(v.Joined, []Limit{want, want}) || slices.Contains(v.Opened, Sender) != (i == 1000) {
			t.Fatalf("notification %d: %+v", i+1, v)
		}
	}
	if got := only(t, th.Count(ten, "eve@example.org", to("r@example.net"))); got != None {
		t.Errorf("another sender is joined for %s", got)
	}
}

func TestD17_BreakerPerDomain(t *testing.T) {
	th := New(usual(), time.Time{})
	for i := range 10100 {
		v := th.Count(ten, fmt.Sprintf("bounce-%d@example.org", i), to("bob@example.net"))
		want := None
		if i >= 10000 {
			want = Domain
		}
		if only(t, v) != want || slices.Contains(v.Opened, Domain) != (i == 10000) {
			t.Fatalf("notification %d: %+v", i+1, v)
		}
	}
	if got := only(t, th.Count(ten, "bounce@other.example.org", to("bob@example.net"))); got != None {
		t.Errorf("another domain is joined for %s", got)
	}
}

// TestD17_OnlyWhoIsBeyondIsJoined: one recipient of a loop does not take the others of the outcome along.
func TestD17_OnlyWhoIsBeyondIsJoined(t *testing.T) {
	th := New(usual(), time.Time{})
	for range 10 {
		th.Count(ten, "anna@example.org", to("loop@example.net"))
	}
	v := th.Count(ten, "anna@example.org", to("bob@example.net", "loop@example.net", "carol@example.net"))
	if !slices.Equal(v.Joined, []Limit{None, Recipient, None}) {
		t.Errorf("joined %v", v.Joined)
	}
}

func TestD17_ANewHourCountsAnew(t *testing.T) {
	l := usual()
	l.PerSender = 1
	th := New(l, time.Time{})
	th.Count(ten.Add(59*time.Minute), "anna@example.org", to("a@x.example"))
	if got := only(t, th.Count(ten.Add(time.Hour-1), "anna@example.org", to("b@x.example"))); got != Sender {
		t.Errorf("the last moment of the hour: %q", got)
	}
	v := th.Count(ten.Add(time.Hour), "anna@example.org", to("c@x.example"))
	if only(t, v) != None || !v.Due.Equal(ten.Add(2*time.Hour)) {
		t.Errorf("the first moment of the next hour: %+v", v)
	}
	// Another server leads whose clock is behind: the window stays.
	v = th.Count(ten.Add(30*time.Minute), "anna@example.org", to("d@x.example"))
	if only(t, v) != Sender || !v.Due.Equal(ten.Add(2*time.Hour)) {
		t.Errorf("time that goes back: %+v", v)
	}
}

// TestD17_NothingIsJoinedIntoAToldWindow: it would be lost.
func TestD17_NothingIsJoinedIntoAToldWindow(t *testing.T) {
	l := usual()
	l.PerSender = 0
	th := New(l, ten)
	if v := th.Count(ten.Add(-time.Minute), "anna@example.org", to("a@x.example")); !v.Due.Equal(ten.Add(time.Hour)) {
		t.Errorf("due %v, which is told already", v.Due)
	}
	th.Tell(ten.Add(time.Hour))
	th.Tell(ten)
	if v := th.Count(ten.Add(time.Minute), "anna@example.org", to("a@x.example")); !v.Due.Equal(ten.Add(2 * time.Hour)) {
		t.Errorf("due %v, which is told already", v.Due)
	}
}

func TestD17_NoLimitAtAllJoinsEverything(t *testing.T) {
	for _, limit := range []Limit{Sender, Domain, Recipient} {
		l := usual()
		switch limit {
		case Sender:
			l.PerSender = 0
		case Domain:
			l.PerDomain = 0
		default:
			l.PerRecipient = 0
		}
		v := New(l, time.Time{}).Count(ten, "anna@example.org", to("a@x.example"))
		if only(t, v) != limit || !slices.Equal(v.Opened, []Limit{limit}) {
			t.Errorf("%s 0: %+v", limit, v)
		}
	}
}

func TestD17_LookCountsNothing(t *testing.T) {
	l := usual()
	l.PerRecipient = 1
	th := New(l, time.Time{})
	for range 5 {
		if got := only(t, th.Look(ten, "anna@example.org", to("a@x.example"))); got != None {
			t.Fatalf("joined for %q before anything was counted", got)
		}
	}
	th.Count(ten, "anna@example.org", to("a@x.example"))
	if got := only(t, th.Look(ten, "anna@example.org", to("a@x.example"))); got != Recipient {
		t.Errorf("the second: %q", got)
	}
	if got := only(t, th.Look(ten.Add(time.Hour), "anna@example.org", to("a@x.example"))); got != None {
		t.Errorf("in the next hour: %q", got)
	}
}

// TestD17_CountedAgainGivesTheSame is what "exactly one" stands on: after a crash the same outcomes, counted again from
// the beginning of the window, give the same verdicts; and when the oldest of them are gone, none is joined that was
// sent by itself before.
func TestD17_CountedAgainGivesTheSame(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	type stored struct {
		at     time.Time
		sender string
		to     []Counted
	}
	var all []stored
	at := ten
	for range 1000 {
		at = at.Add(time.Duration(random.IntN(9)) * time.Second)
		s := stored{at: at, sender: fmt.Sprintf("s%d@d%d.example", random.IntN(5), random.IntN(3))}
		for range 1 + random.IntN(3) {
			s.to = append(s.to, to(fmt.Sprintf("r%d@x.example", random.IntN(20)))...)
		}
		all = append(all, s)
	}
	l := Limits{PerSender: 60, PerDomain: 200, PerRecipient: 8, Window: 20 * time.Minute}
	replay := func(from int) []Verdict {
		th := New(l, time.Time{})
		var verdicts []Verdict
		for _, s := range all[from:] {
			verdicts = append(verdicts, th.Count(s.at, s.sender, s.to))
		}
		return verdicts
	}
	first := replay(0)
	for range 20 {
		from := random.IntN(len(all))
		begin := slices.IndexFunc(all, func(s stored) bool { return !s.at.Before(l.Begin(all[from].at)) })
		again := replay(begin)
		for i, v := range again {
			if !slices.Equal(v.Joined, first[begin+i].Joined) || !v.Due.Equal(first[begin+i].Due) {
				t.Fatalf("outcome %d: %+v, the first time %+v", begin+i, v, first[begin+i])
			}
		}
		for i, v := range replay(from) { // its window's beginning is trimmed away
			for j, limit := range v.Joined {
				if limit != None && first[from+i].Joined[j] == None {
					t.Fatalf("outcome %d: joined for %s though it was sent the first time", from+i, limit)
				}
			}
		}
	}
}

func TestWhatIsCountedIsBounded(t *testing.T) {
	l := usual()
	l.PerRecipient, l.PerSender = 1, 1<<30
	l.PerDomain = 1 << 30
	th := New(l, time.Time{})
	th.most = 100
	th.Count(ten, "anna@example.org", to("first@x.example"))
	for i := range 2 * th.most {
		th.Count(ten, "anna@example.org", to(fmt.Sprint(i)))
	}
	if len(th.counts) > th.most {
		t.Errorf("%d things counted", len(th.counts))
	}
	if got := only(t, th.Count(ten, "anna@example.org", to("first@x.example"))); got != Recipient {
		t.Errorf("what was counted before is not counted on: %q", got)
	}
	for range 3 {
		if got := only(t, th.Count(ten, "anna@example.org", to("new@x.example"))); got != None {
			t.Errorf("what there is no room for is joined for %q", got)
		}
	}
}

func BenchmarkCount(b *testing.B) {
	th := New(usual(), time.Time{})
	recipients := to("bob@example.net")
	b.ReportAllocs()
	for b.Loop() {
		th.Count(ten, "anna@example.org", recipients)
	}
}
