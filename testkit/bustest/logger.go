// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"fmt"
	"sync"
	"testing"
)

// logger keeps warnings and errors of a server, to be shown when the test fails. It implements server.Logger.
type logger struct {
	mu    sync.Mutex
	lines []string
}

func (l *logger) add(level, format string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level+fmt.Sprintf(format, args...))
}

func (l *logger) Warnf(format string, args ...any)  { l.add("warning: ", format, args) }
func (l *logger) Errorf(format string, args ...any) { l.add("error: ", format, args) }
func (l *logger) Fatalf(format string, args ...any) { l.add("fatal: ", format, args) }
func (l *logger) Noticef(string, ...any)            {}
func (l *logger) Debugf(string, ...any)             {}
func (l *logger) Tracef(string, ...any)             {}

func (l *logger) report(tb testing.TB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !tb.Failed() {
		return
	}
	for _, line := range l.lines {
		tb.Logf("nats-server %s", line)
	}
}
