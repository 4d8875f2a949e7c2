// SPDX-License-Identifier: Apache-2.0

// Package jaeger reads a trace from Jaeger's query API. It knows the form of the answers and nothing of mail.
package jaeger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// timeout bounds one question.
	timeout = 15 * time.Second
	// maxAnswer bounds an answer in bytes; a span with a transcript has about 10 kB.
	maxAnswer = 64 << 20
)

// Errors of Trace. Others are of the answer, which is not Jaeger's then.
var (
	// ErrUnreachable is a server that does not answer.
	ErrUnreachable = errors.New("cannot reach Jaeger")
	// ErrNotFound is a trace Jaeger does not have.
	ErrNotFound = errors.New("no such trace")
)

// Span is one span of a trace.
type Span struct {
	ID, Parent string // Parent is empty at a root
	Service    string // service.name of the process that made it
	Name       string
	Start      time.Time
	Duration   time.Duration
	Attributes map[string]any // string, bool, float64
	Events     []Event
	Links      []string // ids of the spans it is linked to
}

// Event is something that happened within a span.
type Event struct {
	Name       string
	Time       time.Time
	Attributes map[string]any
}

// Client asks one Jaeger.
type Client struct {
	base *url.URL
	http *http.Client
}

// New returns a client for the address of Jaeger's query port, such as http://127.0.0.1:16686.
func New(address string) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("%q is no address of Jaeger: it looks like http://127.0.0.1:16686", address)
	}
	return &Client{base: base, http: &http.Client{Timeout: timeout}}, nil
}

// Link is the page of a trace.
func (c *Client) Link(traceID string) string { return c.base.JoinPath("trace", traceID).String() }

// Trace returns the spans of a trace in the order Jaeger has them.
func (c *Client) Trace(ctx context.Context, traceID string) ([]Span, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath("api", "traces", traceID).String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w at %s%s", ErrUnreachable, c.base, because(err))
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w at %s%s", ErrUnreachable, c.base, because(err))
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", c.base, maxAnswer)
	case response.StatusCode == http.StatusNotFound && json.Valid(body):
		return nil, fmt.Errorf("%w: %s", ErrNotFound, traceID)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers %s", c.base, response.Status)
	}
	return decode(body, c.base)
}

// because is the innermost word on a connection that failed.
func because(err error) string {
	text := err.Error()
	if ended, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && ended.Timeout() {
		return fmt.Sprintf(": no answer within %s", timeout)
	}
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return ": " + text
}
