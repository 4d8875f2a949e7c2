// SPDX-License-Identifier: Apache-2.0

//go:build containers

package containers_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/e2e/suite"
)

// span is a span of `postrider trace --json`.
type span struct {
	Service    string
	Name       string
	Attributes map[string]any
	Children   []span
}

func (s span) text(key string) string {
	if v, ok := s.Attributes[key]; ok {
		return fmt.Sprint(v)
	}
	return ""
}

// below are the spans named so at any depth, in the order of the tree.
func below(spans []span, name string) []span {
	var found []span
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
		found = append(found, below(s.Children, name)...)
	}
	return found
}

// has reports that there is a span of each name. Services export by themselves, so that a trace may have gaps at first;
// once it has a single root there is none above what is there.
func has(spans []span, names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return len(below(spans, name)) == 0 })
}

// trace reads a trace from Jaeger with the command line once it is complete.
func (s *stack) trace(t *testing.T, id string, complete func([]span) bool) []span {
	t.Helper()
	var answer struct{ Spans []span }
	var last string
	defer func() {
		if t.Failed() {
			t.Logf("trace %s as last seen:\n%s", id, last)
		}
	}()
	eventually(t, time.Minute, "trace "+id+" complete in Jaeger", func() bool {
		out, err := try(s.postrider(t, "trace", id, "--jaeger", s.jaeger, "--json")...)
		if last = out; err != nil {
			return false // Jaeger does not have it yet
		}
		answer.Spans = nil
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatalf("trace --json: %v\n%s", err, out)
		}
		return complete(answer.Spans)
	})
	return answer.Spans
}

// postrider is a command line on the host, outside of the compose network.
func (s *stack) postrider(t *testing.T, args ...string) []string {
	return append(append([]string{suite.Program(t, "postrider")}, args...), "--server", s.gateway, "--token-file", s.token())
}

// loopTraces are the ids of traces in Jaeger whose loop check refused a message.
func (s *stack) loopTraces(t *testing.T) []string {
	t.Helper()
	var answer struct {
		Data []struct {
			TraceID string `json:"traceID"`
		} `json:"data"`
	}
	s.get(t, &answer, "/api/traces", url.Values{
		"service": {"gateway"}, "operation": {"gateway.loop_check"}, "tags": {`{"mail.loop.decision":"refuse"}`}, "lookback": {"1h"}, "limit": {"50"},
	})
	ids := make([]string, 0, len(answer.Data))
	for _, d := range answer.Data {
		ids = append(ids, d.TraceID)
	}
	return ids
}

// emitted are the names of all spans Jaeger has of our services.
func (s *stack) emitted(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, service := range []string{"gateway", "resolver", "sender", "dsn"} {
		var answer struct{ Data []string }
		s.get(t, &answer, "/api/services/"+service+"/operations", nil)
		if len(answer.Data) == 0 {
			t.Errorf("no spans of %s", service)
		}
		for _, name := range answer.Data {
			names[name] = true
		}
	}
	return names
}

// catalogue are the spans docs/tracing.md lists. A gRPC call is listed by one of its kind.
func catalogue(t *testing.T, root string) map[string]bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "docs", "tracing.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.+?) \\|").FindAllStringSubmatch(string(data), -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			listed[name[1]] = true
		}
	}
	return listed
}

// differences are the spans emitted and not listed, and those listed and never emitted. Calls are listed as a kind.
func differences(listed, emitted map[string]bool) (unlisted, never []string) {
	isCall := regexp.MustCompile(`^postrider\.[a-z]+\.v1\.[A-Za-z]+/[A-Za-z]+$`)
	for name := range emitted {
		if !listed[name] && !isCall.MatchString(name) {
			unlisted = append(unlisted, name)
		}
	}
	for name := range listed {
		if !emitted[name] {
			never = append(never, name)
		}
	}
	slices.Sort(unlisted)
	slices.Sort(never)
	return unlisted, never
}

// spanCatalogue holds docs/tracing.md against what the whole run emitted, both ways.
func (s *stack) spanCatalogue(t *testing.T) {
	listed := catalogue(t, s.root)
	unlisted, never := differences(listed, s.emitted(t))
	if len(unlisted) > 0 {
		t.Errorf("docs/tracing.md does not list: %s", strings.Join(unlisted, ", "))
	}
	if len(never) > 0 {
		t.Errorf("docs/tracing.md lists what nobody emitted: %s", strings.Join(never, ", "))
	}
	if len(listed) < 15 {
		t.Errorf("only %d spans found in docs/tracing.md: the search has lost its way", len(listed))
	}
}

func TestDifferences(t *testing.T) {
	unlisted, never := differences(
		map[string]bool{"smtp.dot": true, "smtp.turn": true},
		map[string]bool{"smtp.dot": true, "smtp.rset": true, "postrider.gateway.v1.MailService/Submit": true, "grpc.health.v1.Health/Check": true})
	if !slices.Equal(unlisted, []string{"grpc.health.v1.Health/Check", "smtp.rset"}) || !slices.Equal(never, []string{"smtp.turn"}) {
		t.Errorf("unlisted %v, never emitted %v", unlisted, never)
	}
}
