// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"

	gatewayv1 "github.com/postrider/postrider/proto/postrider/gateway/v1"
)

const someTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// known is a gateway that knows one message.
type known struct {
	gatewayv1.UnimplementedMailServiceServer
	trace string
}

func (k known) GetMessage(_ context.Context, in *gatewayv1.GetMessageRequest) (*gatewayv1.GetMessageResponse, error) {
	return &gatewayv1.GetMessageResponse{Message: &gatewayv1.Message{MessageId: in.GetMessageId(), TraceId: k.trace}}, nil
}

// jaegerWith serves one trace of one span.
func jaegerWith(t *testing.T, trace string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/traces/"+trace {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[{"code":404,"msg":"trace not found"}]}`)
			return
		}
		fmt.Fprint(w, `{"data":[{"spans":[{"spanID":"a","operationName":"gateway.submit","processID":"p"}],"processes":{"p":{"serviceName":"gateway"}}}]}`)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func runTrace(t *testing.T, gatewayKnows string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	address := listen(t, func(s *grpc.Server) { gatewayv1.RegisterMailServiceServer(s, known{trace: gatewayKnows}) })
	var out, errs bytes.Buffer
	status = Main(append([]string{"trace", "--server", address}, args...), Streams{Out: &out, Err: &errs})
	return status, out.String(), errs.String()
}

func TestTraceOfAMessage(t *testing.T) {
	url := jaegerWith(t, someTrace)
	status, out, errs := runTrace(t, someTrace, "01K", "--jaeger", url)
	if status != 0 || errs != "" || !strings.Contains(out, "gateway.submit") || !strings.HasSuffix(out, url+"/trace/"+someTrace+"\n") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	status, out, errs = runTrace(t, someTrace, "01K", "--jaeger", url, "--jaeger-link", "https://traces.example/j", "--json")
	var got traceJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 || errs != "" {
		t.Fatalf("status %d, %v\n%s%s", status, err, out, errs)
	}
	if got.MessageID != "01K" || got.TraceID != someTrace || got.Link != "https://traces.example/j/trace/"+someTrace || len(got.Spans) != 1 {
		t.Errorf("got %+v", got)
	}
}

// TestTraceByItsID needs no gateway: a refused message has a trace and no id.
func TestTraceByItsID(t *testing.T) {
	var out, errs bytes.Buffer
	if status := Main([]string{"trace", someTrace, "--server", "127.0.0.1:1", "--jaeger", jaegerWith(t, someTrace)}, Streams{Out: &out, Err: &errs}); status != 0 {
		t.Errorf("status %d\n%s%s", status, &out, &errs)
	}
}

func TestTraceFailures(t *testing.T) {
	t.Setenv("POSTRIDER_JAEGER", "")
	url := jaegerWith(t, "00000000000000000000000000000000")
	for name, tc := range map[string]struct {
		trace  string
		args   []string
		reason string
	}{
		"no Jaeger":         {someTrace, []string{"01K"}, "JAEGER_NOT_CONFIGURED"},
		"no address":        {someTrace, []string{"01K", "--jaeger", "jaeger:16686"}, "INVALID_JAEGER"},
		"no address linked": {someTrace, []string{"01K", "--jaeger", url, "--jaeger-link", "x"}, "INVALID_JAEGER"},
		"Jaeger away":       {someTrace, []string{"01K", "--jaeger", "http://127.0.0.1:1"}, "JAEGER_UNREACHABLE"},
		"not in Jaeger":     {someTrace, []string{"01K", "--jaeger", url}, "TRACE_NOT_FOUND"},
		"no trace":          {"", []string{"01K", "--jaeger", url}, "NOT_TRACED"},
		"no Jaeger at all":  {someTrace, []string{"01K", "--jaeger", url + "/elsewhere"}, "TRACE_NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := runTrace(t, tc.trace, append(tc.args, "--json")...)
			if status != exitFailure || errs != "" || !strings.Contains(out, `"reason": "`+tc.reason+`"`) {
				t.Errorf("status %d, want reason %s\n%s%s", status, tc.reason, out, errs)
			}
		})
	}
}

// TestUsageErrorsAreTyped: a script that asked for JSON gets JSON, whatever was wrong.
func TestUsageErrorsAreTyped(t *testing.T) {
	for _, args := range [][]string{{"send", "--json"}, {"status", "--json", "--no-such-flag", "x"}, {"no-such-command", "--json"}} {
		var out, errs bytes.Buffer
		status := Main(args, Streams{Out: &out, Err: &errs})
		var got struct {
			Error struct{ Code, Reason, Message string }
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || status != exitUsage || errs.Len() > 0 ||
			got.Error.Code != "INVALID_ARGUMENT" || got.Error.Reason != "USAGE" || got.Error.Message == "" {
			t.Errorf("%v: status %d, %v\n%s%s", args, status, err, &out, &errs)
		}
	}
	var out, errs bytes.Buffer
	if status := Main([]string{"send"}, Streams{Out: &out, Err: &errs}); status != exitUsage || out.Len() > 0 || !strings.HasPrefix(errs.String(), "postrider: missing flags") {
		t.Errorf("status %d\n%s%s", status, &out, &errs)
	}
}
