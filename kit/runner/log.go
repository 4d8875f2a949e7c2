// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/postrider/postrider/kit/telemetry"
)

// NewLogger returns a logger that writes to w and adds trace ids. format is json, text, or empty: text on a terminal,
// else json. level is debug, info, warn or error; empty is info.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var threshold slog.Level
	if level != "" {
		if err := threshold.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("log level must be debug, info, warn or error, not %q", level)
		}
	}
	if format == "" {
		format = "json"
		if isTerminal(w) {
			format = "text"
		}
	}
	options := &slog.HandlerOptions{Level: threshold}
	switch format {
	case "json":
		return slog.New(telemetry.LogHandler(slog.NewJSONHandler(w, options))), nil
	case "text":
		return slog.New(telemetry.LogHandler(slog.NewTextHandler(w, options))), nil
	}
	return nil, fmt.Errorf("log format must be json or text, not %q", format)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
