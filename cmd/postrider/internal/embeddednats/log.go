// SPDX-License-Identifier: Apache-2.0

package embeddednats

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// natsLog turns the server's messages into log lines. A fatal one is logged like an error: the process decides
// itself when to end.
type natsLog struct {
	log  *slog.Logger
	last atomic.Pointer[string]
}

func (l *natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *natsLog) Errorf(format string, v ...any)  { l.failed(fmt.Sprintf(format, v...)) }
func (l *natsLog) Fatalf(format string, v ...any)  { l.failed(fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(string, ...any)           {}
func (l *natsLog) Tracef(string, ...any)           {}

func (l *natsLog) failed(text string) {
	l.last.Store(&text)
	l.log.Error(text)
}

func (l *natsLog) lastError() string {
	if text := l.last.Load(); text != nil {
		return *text
	}
	return "no reason given"
}
