// SPDX-License-Identifier: Apache-2.0

package bustest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// logger keeps warnings and errors of a server and its clients, to be shown when the test fails. It implements server.Logger.
type logger struct {
	mu    sync.Mutex
	lines []string
	fatal string // why a server gave up
}

func (l *logger) add(level, format string, args []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level+fmt.Sprintf(format, args...))
}

// awaitReady returns when a server takes connections, or shuts it down and says why it does not.
func (l *logger) awaitReady(srv *server.Server) error {
	for end := time.Now().Add(patience); ; {
		if srv.ReadyForConnections(200 * time.Millisecond) { // it cannot tell that it gave up
			return nil
		}
		l.mu.Lock()
		fatal := l.fatal
		l.mu.Unlock()
		if fatal == "" && time.Now().Before(end) {
			continue
		}
		srv.Shutdown()
		srv.WaitForShutdown()
		if fatal != "" {
			return errors.New(fatal)
		}
		return fmt.Errorf("server not ready within %s", patience)
	}
}

func (l *logger) Warnf(format string, args ...any)  { l.add("warning: ", format, args) }
func (l *logger) Errorf(format string, args ...any) { l.add("error: ", format, args) }
func (l *logger) Fatalf(format string, args ...any) {
	l.add("fatal: ", format, args)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatal = fmt.Sprintf(format, args...)
}
func (l *logger) Noticef(string, ...any) {}
func (l *logger) Debugf(string, ...any)  {}
func (l *logger) Tracef(string, ...any)  {}

func (l *logger) report(tb testing.TB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !tb.Failed() {
		return
	}
	for _, line := range l.lines {
		tb.Logf("nats %s", line)
	}
}
