// SPDX-License-Identifier: Apache-2.0

package jaeger

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"
)

// answer is the JSON of /api/traces, as far as it is read.
type answer struct {
	Data []struct {
		Spans     []spanJSON `json:"spans"`
		Processes map[string]struct {
			ServiceName string `json:"serviceName"`
		} `json:"processes"`
	} `json:"data"`
}

type spanJSON struct {
	SpanID        string `json:"spanID"`
	OperationName string `json:"operationName"`
	References    []struct {
		RefType string `json:"refType"`
		SpanID  string `json:"spanID"`
	} `json:"references"`
	StartTime int64     `json:"startTime"` // microseconds since 1970
	Duration  int64     `json:"duration"`  // microseconds
	Tags      []tagJSON `json:"tags"`
	Logs      []struct {
		Timestamp int64     `json:"timestamp"`
		Fields    []tagJSON `json:"fields"`
	} `json:"logs"`
	ProcessID string `json:"processID"`
}

type tagJSON struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

func decode(body []byte, from *url.URL) ([]Span, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("%s does not answer as Jaeger's query API does: %w", from, err)
	}
	var spans []Span
	for _, trace := range a.Data {
		for i := range trace.Spans {
			s := trace.Spans[i].span()
			s.Service = trace.Processes[trace.Spans[i].ProcessID].ServiceName
			spans = append(spans, s)
		}
	}
	if len(spans) == 0 {
		return nil, fmt.Errorf("%w: the answer is empty", ErrNotFound)
	}
	return spans, nil
}

func (j *spanJSON) span() Span {
	s := Span{
		ID: j.SpanID, Name: j.OperationName, Start: time.UnixMicro(j.StartTime),
		Duration: time.Duration(j.Duration) * time.Microsecond, Attributes: attributes(j.Tags),
	}
	for _, r := range j.References {
		if r.RefType == "CHILD_OF" && s.Parent == "" {
			s.Parent = r.SpanID
		} else {
			s.Links = append(s.Links, r.SpanID)
		}
	}
	for _, l := range j.Logs {
		e := Event{Time: time.UnixMicro(l.Timestamp), Attributes: attributes(l.Fields)}
		e.Name, _ = e.Attributes["event"].(string)
		delete(e.Attributes, "event")
		s.Events = append(s.Events, e)
	}
	return s
}

func attributes(tags []tagJSON) map[string]any {
	out := make(map[string]any, len(tags))
	for _, t := range tags {
		out[t.Key] = t.Value
	}
	return out
}
