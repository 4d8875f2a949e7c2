// SPDX-License-Identifier: Apache-2.0

package jaeger_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/cmd/postrider/internal/jaeger"
)

const id = "4bf92f3577b34da6a3ce929d0e0e4736"

// serve answers every request with a status and a body, and tells which path was asked for.
func serve(t *testing.T, status int, body string) (c *jaeger.Client, asked *string) {
	t.Helper()
	asked = new(string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.URL.Path
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	c, err := jaeger.New(s.URL + "/base/")
	if err != nil {
		t.Fatal(err)
	}
	return c, asked
}

func TestTrace(t *testing.T) {
	const body = `{"data":[{"traceID":"` + id + `","spans":[
	 {"traceID":"` + id + `","spanID":"aa","operationName":"gateway.submit","references":[],"startTime":1700000000000001,"duration":1500,
	  "tags":[{"key":"mail.size","type":"int64","value":450},{"key":"mail.duplicate","type":"bool","value":false}],"logs":[],"processID":"p1"},
	 {"traceID":"` + id + `","spanID":"bb","operationName":"sender.attempt","startTime":1700000000000002,"duration":1,
	  "references":[{"refType":"CHILD_OF","spanID":"aa"},{"refType":"FOLLOWS_FROM","spanID":"cc"}],"tags":[],
	  "logs":[{"timestamp":1700000000000003,"fields":[{"key":"event","type":"string","value":"smtp.transcript"},{"key":"smtp.transcript.line","type":"string","value":"S: 220 hi"}]}],
	  "processID":"p2"}],
	 "processes":{"p1":{"serviceName":"gateway"},"p2":{"serviceName":"sender"}}}],"errors":null}`
	c, asked := serve(t, http.StatusOK, body)
	spans, err := c.Trace(t.Context(), id)
	if err != nil || len(spans) != 2 {
		t.Fatalf("%v, %v", spans, err)
	}
	if *asked != "/base/api/traces/"+id || !strings.HasSuffix(c.Link(id), "/base/trace/"+id) {
		t.Errorf("asked for %s, link %s", *asked, c.Link(id))
	}
	root, child := spans[0], spans[1]
	if root.Service != "gateway" || root.Parent != "" || root.Duration != 1500*time.Microsecond || !root.Start.Equal(time.UnixMicro(1700000000000001)) ||
		root.Attributes["mail.size"] != 450.0 || root.Attributes["mail.duplicate"] != false {
		t.Errorf("root %+v", root)
	}
	if child.Parent != "aa" || len(child.Links) != 1 || child.Links[0] != "cc" || child.Service != "sender" ||
		len(child.Events) != 1 || child.Events[0].Name != "smtp.transcript" || child.Events[0].Attributes["smtp.transcript.line"] != "S: 220 hi" {
		t.Errorf("child %+v", child)
	}
}

func TestTrace_BadAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		status   int
		body     string
		notFound bool
		text     string
	}{
		"unknown trace":   {http.StatusNotFound, `{"data":null,"errors":[{"code":404,"msg":"trace not found"}]}`, true, id},
		"no such page":    {http.StatusNotFound, "<html>nginx</html>", false, "404"},
		"no trace in it":  {http.StatusOK, `{"data":[]}`, true, "empty"},
		"no JSON":         {http.StatusOK, "<html>", false, "does not answer as Jaeger"},
		"failed":          {http.StatusInternalServerError, "", false, "500"},
		"beyond all size": {http.StatusOK, `{"data":[` + strings.Repeat(" ", 64<<20), false, "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, tc.status, tc.body)
			_, err := c.Trace(t.Context(), id)
			if err == nil || errors.Is(err, jaeger.ErrNotFound) != tc.notFound || errors.Is(err, jaeger.ErrUnreachable) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTrace_Away(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String()
	_ = l.Close()
	c, err := jaeger.New(address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Trace(t.Context(), id); !errors.Is(err, jaeger.ErrUnreachable) || !strings.Contains(err.Error(), address+": connection refused") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err = c.Trace(ctx, id); !errors.Is(err, jaeger.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestNew_Address(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:16686", "jaeger:16686", "ftp://x", "http://", "http://[::1"} {
		if _, err := jaeger.New(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
