// SPDX-License-Identifier: Apache-2.0

package tenure_test

import (
	"fmt"
	"testing"

	"github.com/postrider/postrider/kit/bus"
	eventv1 "github.com/postrider/postrider/proto/postrider/event/v1"
)

func TestMailIsAttemptedAndSettledOnce(t *testing.T) {
	w := newWorld(t, 1)
	var mails []*eventv1.QueuedMail
	for i := range 50 {
		mails = append(mails, mail(fmt.Sprintf("m%d", i), "ok@example.test"))
	}
	w.submit(0, mails[:30]...)
	s := w.start("a", 0, deliver)
	w.submit(0, mails[30:]...)
	all := w.finals(50)
	if !s.stop() {
		t.Error("not clean")
	}
	seen := make(map[string]int)
	for _, o := range all {
		seen[o.GetId()]++
		if o.GetSource().GetStream() != bus.StreamMail || o.GetResults()[0].GetPossibleDuplicate() {
			t.Errorf("%v", o)
		}
	}
	if len(seen) != 50 || len(all) != 50 {
		t.Errorf("%d outcomes of %d messages", len(all), len(seen))
	}
	if got := w.floor(0, bus.StreamMail); got != 3 {
		t.Errorf("floor of MAIL is %d", got)
	}
}
