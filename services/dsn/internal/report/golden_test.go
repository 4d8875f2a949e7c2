// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	"github.com/postrider/postrider/services/dsn/internal/policy"
	"github.com/postrider/postrider/services/dsn/internal/text"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldens are whole notifications whose wording was read by a person. Run with -update after a change and read the
// difference.
func goldens() map[string]Input {
	greylisted := refused("dora@example.com")
	greylisted.State, greylisted.Status = deferred, code(4, 7, 1)
	greylisted.Reply = &eventv1.Reply{Code: 451, Enhanced: code(4, 7, 1), Lines: []string{"Please try again later"}}
	greylisted.Failure = &eventv1.Failure{Stage: eventv1.Stage_STAGE_RCPT, Reply: greylisted.Reply, Status: code(4, 7, 1)}
	greylisted.RemoteMta = "mx.example.com"

	tooLarge := refused("eve@example.com")
	tooLarge.Status, tooLarge.Reply, tooLarge.RemoteMta = code(5, 3, 4), nil, ""
	tooLarge.Failure = &eventv1.Failure{
		Stage: eventv1.Stage_STAGE_LOCAL, Status: code(5, 3, 4), Reason: "size",
		Detail: "The message has 31457280 bytes; mx.example.com takes up to 10485760.",
	}

	nullMX := refused("info@example.com")
	nullMX.Status, nullMX.Reply, nullMX.RemoteMta = code(5, 1, 10), nil, ""
	nullMX.Failure = &eventv1.Failure{Stage: eventv1.Stage_STAGE_RESOLVE, Status: code(5, 1, 10), Reason: "null_mx"}

	handed := &eventv1.RecipientResult{
		Recipient: &eventv1.Recipient{
			Address: "bob@example.net", Notify: []eventv1.Notify{eventv1.Notify_NOTIFY_SUCCESS},
			OrcptType: "rfc822", OrcptAddress: "Bob@lists.example.net",
		},
		State: relayed, Status: code(2, 0, 0), RemoteMta: "mx1.example.net",
		Reply: &eventv1.Reply{Code: 250, Enhanced: code(2, 0, 0), Lines: []string{"Ok: queued as 4Xk2"}},
	}

	ambiguous := unreached("bob@example.net", bounced)
	ambiguous.Status, ambiguous.PossibleDuplicate = code(4, 4, 7), true
	ambiguous.Failure = &eventv1.Failure{Stage: eventv1.Stage_STAGE_DOT, Status: code(4, 4, 2), Reason: "ambiguous"}

	gaveUp := refused("bob@example.net")
	gaveUp.State, gaveUp.Status = expired, code(4, 4, 7)
	gaveUp.Reply = &eventv1.Reply{Code: 452, Enhanced: code(4, 2, 2), Lines: []string{"Mailbox is full", "Ask its owner to clean it up"}}
	gaveUp.Failure = &eventv1.Failure{Stage: eventv1.Stage_STAGE_RCPT, Reply: gaveUp.Reply, Status: code(4, 2, 2)}

	several := whole(input(refused("bob@example.net"), refused("carol@example.net"), tooLarge, nullMX), original)
	several.Outcome.Envid = "order-4711"
	delayed := input(greylisted)
	delayed.Kind = policy.Delayed
	relay := input(handed)
	relay.Kind = policy.Relayed
	secret := whole(input(refused("bob@example.net")), original)
	secret.Outcome.RequireTls = true
	return map[string]Input{
		"failed-no-such-mailbox":      input(refused("bob@example.net")),
		"failed-several-with-message": several,
		"failed-expired-full-mailbox": input(gaveUp),
		"failed-expired-silent-host":  input(unreached("bob@example.net", expired)),
		"failed-may-have-arrived":     input(ambiguous),
		"failed-requiretls":           secret,
		"failed-international":        international("\u00e4nna@example.org"),
		"failed-international-7bit":   international("anna@example.org"),
		"delayed-greylisted":          delayed,
		"relayed":                     relay,
	}
}

func TestGoldenNotifications(t *testing.T) {
	for name, in := range goldens() {
		t.Run(name, func(t *testing.T) {
			m, _ := compose(t, in)
			golden(t, name, m.Content)
		})
	}
}

// listGoldens are lists in place of many notifications (D-17, D-03).
func listGoldens() map[string]List {
	const unknown = "The mail system of example.net knows no mailbox with this address."
	storm := List{
		To: "anna@example.org", ID: "0123456789abcdef", Begin: at(10, 0).AsTime(), End: at(11, 0).AsTime(), Part: 1, Parts: 1, Total: 4,
		Lines: []text.Line{
			{Kind: policy.Failed, Happened: unknown, Reference: "01JBQWERTYUIOPASDFGHJKLZX1", Status: "5.1.1", Address: "bob@example.net"},
			{Kind: policy.Delayed, Happened: "The recipient's mailbox is full.", Reference: "01JBQWERTYUIOPASDFGHJKLZX2", Status: "4.2.2", Address: "eve@example.net"},
			{Kind: policy.Failed, Happened: unknown, Reference: "01JBQWERTYUIOPASDFGHJKLZX3", Status: "5.1.1", Address: "b\u00f6b@example.net"},
			{Kind: policy.Relayed, Reference: "01JBQWERTYUIOPASDFGHJKLZX4", Status: "2.0.0", Address: "dora@example.com"},
		},
	}
	postmaster := List{
		To: "postmaster@example.org", ID: "fedcba9876543210", Begin: at(10, 0).AsTime(), End: at(11, 0).AsTime(), Part: 2, Parts: 2, Total: 1001,
		Postmaster: true, Lines: storm.Lines[:1],
	}
	return map[string]List{"list-storm": storm, "list-postmaster": postmaster}
}

func TestD17_GoldenLists(t *testing.T) {
	for name, list := range listGoldens() {
		t.Run(name, func(t *testing.T) {
			m, err := composer().ComposeList(list)
			if err != nil || m.Recipient != list.To {
				t.Fatalf("to %q, %v", m.Recipient, err)
			}
			golden(t, name, m.Content)
		})
	}
}

func TestD17_ListsThatCannotBeMade(t *testing.T) {
	good := listGoldens()["list-storm"]
	for name, change := range map[string]func(*List){
		"no address": func(l *List) { l.To = "anna" },
		"two lines":  func(l *List) { l.To = "anna@example.org\r\nBcc: x@y.example" },
		"no lines":   func(l *List) { l.Lines = nil },
		"no id":      func(l *List) { l.ID = "a>b" },
	} {
		l := good
		change(&l)
		m, err := composer().ComposeList(l)
		if _, ok := errors.AsType[*InputError](err); !ok || len(m.Content) > 0 {
			t.Errorf("%s: %d octets, %v", name, len(m.Content), err)
		}
	}
}

// golden holds content against its golden file.
func golden(t *testing.T, name string, content []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".eml")
	if *update {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content, want) {
		t.Errorf("notification differs from %s:\n%s", file, content)
	}
}

func TestEveryGoldenFileIsUsed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	known := goldens()
	for _, file := range files {
		if _, ok := listGoldens()[strings.TrimSuffix(filepath.Base(file), ".eml")]; ok {
			continue
		}
		if _, ok := known[strings.TrimSuffix(filepath.Base(file), ".eml")]; !ok {
			t.Errorf("%s belongs to no test", file)
		}
	}
}
