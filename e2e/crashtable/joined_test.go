// SPDX-License-Identifier: Apache-2.0

package crashtable_test

import (
	"bytes"
	"net/mail"
	"strings"
	"testing"

	"github.com/postrider/postrider/e2e/suite"
)

// TestD17_CrashTable is the row "dsn anywhere" for notifications that are joined: a limit of none has every one joined, and
// the process ends before and after it is stored, before and after the list is handed in, and before and after it counts
// as told. Each time exactly one list comes.
func TestD17_CrashTable(t *testing.T) {
	for _, point := range []string{
		"dsn.join.before", "dsn.join.after", "dsn.list.before", "dsn.list.after", "dsn.told.before", "dsn.told.after",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.more = suite.Settings{"dsn.throttle.per_sender": 0, "dsn.throttle.window": "2s"}
			p := w.launch(point)
			w.submit() // an answer may be lost with the process
			w.die(p)
			check(t, w, w.finish(), row{})
			lists := 0
			for _, m := range w.remote.host.Messages() {
				parsed, err := mail.ReadMessage(bytes.NewReader(m.Data))
				if err == nil && m.From == "" && strings.HasPrefix(parsed.Header.Get("Message-Id"), "<dsn.list.") {
					lists++
					if !bytes.Contains(m.Data, []byte("  5.1.1  "+bounced+"\r\n")) {
						t.Errorf("the list does not tell of the recipient:\n%s", m.Data)
					}
				}
			}
			if lists != 1 {
				t.Errorf("%d lists", lists)
			}
		})
	}
}
