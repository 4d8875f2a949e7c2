// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

// shiftVariable sets the wall clock of a program of shifted, in seconds.
const shiftVariable = "POSTRIDER_CLOCK_SHIFT"

// shifted builds the all-in-one with a wall clock that can be set, and returns the folder it is in. What is changed is the
// time package: a library that is put before libc's clock, such as libfaketime, is never asked by a Go program.
func shifted(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	std, dir := filepath.Join(strings.TrimSpace(string(root)), "src", "time"), t.TempDir()
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const read = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), read) != 1 {
		t.Fatalf("time.Now is not as it was: %q is not in it", read)
	}
	files := map[string]string{
		"time.go": strings.Replace(string(source), read, read+"\tsec += clockShift\n", 1),
		"clockshift.go": `package time

import "syscall"

var clockShift = func() (shift int64) {
	text, _ := syscall.Getenv("` + shiftVariable + `")
	for i := 0; i < len(text); i++ {
		if text[i] != '-' {
			shift = 10*shift + int64(text[i]-'0')
		}
	}
	if len(text) > 0 && text[0] == '-' {
		shift = -shift
	}
	return shift
}()
`,
	}
	replace := map[string]string{}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(std, name)] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", list, "-o", filepath.Join(dir, "postrider"), "./cmd/postrider")
	cmd.Dir = suite.Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build with another clock: %v\n%s", err, out)
	}
	return dir
}

// TestQ01_ClockSetBack: what waits a minute when the process is killed is attempted again within that minute after the
// start, though the clock was set back by an hour and the configured pause is another one now. Nothing else waits for the
// clock either: leases, idempotency keys, notifications.
func TestQ01_ClockSetBack(t *testing.T) {
	t.Parallel()
	const back = time.Hour
	w := newWorld(t)
	w.options.Bin, w.options.Crashable = shifted(t), false
	w.options.Settings["sender.retry.pauses"] = []string{"1m"}
	w.suite = suite.New(t, w.options)
	p := w.launch("")
	if !w.submit() {
		t.Fatal("the record is not accepted")
	}
	before := suite.Await(w.ctx, t, w.suite.Mail(t), w.onlyID(), "deferred", func(m *gatewayv1.Message) bool {
		for _, r := range m.GetRecipients() {
			if r.GetAddress() == deferred && r.GetState() == eventv1.RecipientState_RECIPIENT_STATE_DEFERRED {
				return true
			}
		}
		return false
	})
	if n := w.remote.count(deferred); n != 0 {
		t.Errorf("%s has it already", deferred)
	}
	p.Kill(t)
	w.more = suite.Settings{"sender.retry.pauses": []string{"20m"}}
	w.env = []string{fmt.Sprintf("%s=-%d", shiftVariable, int(back.Seconds()))}
	started := time.Now()
	m := w.finish()
	// The wait begins anew at most; the rest is for the start and a busy machine.
	if took := time.Since(started); took > time.Minute+30*time.Second {
		t.Errorf("all was done %s after the start", took)
	}
	check(t, w, m, row{})
	for _, r := range m.GetRecipients() {
		if r.GetAddress() != deferred {
			continue
		}
		attempts := r.GetAttempts()
		if last := attempts[len(attempts)-1].GetStartedAt().AsTime(); !last.Before(before.GetAcceptedAt().AsTime().Add(-back / 2)) {
			t.Errorf("the clock was not set back: the last attempt was at %s, the message accepted at %s", last, before.GetAcceptedAt().AsTime())
		}
	}
}
