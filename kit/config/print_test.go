// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestPrint_ReadsBackToTheSameValue(t *testing.T) {
	full := defaults()
	full.Rules = []rule{{Match: "*.example.com", Wait: 1, TLS: inner{Deep: "a: b # c"}}, {Match: ""}}
	full.Limits = map[string]int{"x y": 1, "true": 2, "~": 3}
	full.Listen = "  odd: 'text'\n\"#\" "
	full.Inner.Deep = "null"
	full.Shared.Common = "123"
	for name, value := range map[string]sample{"defaults": defaults(), "full": full, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Print(&out, &value); err != nil {
				t.Fatal(err)
			}
			got := defaults()
			if err := Decode(out.Bytes(), "printed", &got); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			want := value
			if name == "zero" { // what was nothing is printed as empty
				want.Pauses, want.Networks, want.Rules = nil, nil, nil
				got = sample{Maybe: got.Maybe}
				want.Maybe = &inner{}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v\n%s", got, want, out.String())
			}
		})
	}
}

func TestPrint_EveryKeyHasItsComment(t *testing.T) {
	value := defaults()
	var out bytes.Buffer
	if err := Print(&out, &value); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Where to listen.\nlisten: 127.0.0.1:4025\n",
		"# Largest message.\nmax_message_size: 50MiB\n",
		"# How long to wait.\nwait: 5m\n",
		"# Pauses in order.\npauses: [5m, 10m]\n",
		"# Networks.\nnetworks: [192.0.2.0/24]\n",
		"# Rules, the first that matches counts.\n# Keys of an element:\n#   match: Domain.\n#   wait: Pause.\n#   tls: TLS.\n#     deep: Deep key.\nrules: []\n",
		"# More.\ninner:\n  # Deep key.\n  deep: x\n",
		"# Inlined key.\ncommon: z\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not printed: %q", want)
		}
	}
	if strings.Contains(out.String(), "idden") {
		t.Error("a hidden field was printed")
	}
}

func TestPrint_LongCommentsAreWrapped(t *testing.T) {
	var out bytes.Buffer
	nats := DefaultNATS()
	if err := PrintSections(&out, Section{"nats", &nats}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if len(line) > commentWidth+8 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
}

func TestPrintSections_ReadsBack(t *testing.T) {
	node, nats, queue, telemetry := DefaultNode(), DefaultNATS(), DefaultQueue(), DefaultTelemetry()
	node.Name, nats.URL, queue.Partitions, telemetry.InterestingShare = "mail.example.com", "nats://a:4222", 4, 0.25
	var out bytes.Buffer
	if err := PrintSections(&out, Section{"node", &node}, Section{"nats", &nats}, Section{"queue", &queue}, Section{"telemetry", &telemetry}); err != nil {
		t.Fatal(err)
	}
	var node2 Node
	var nats2 NATS
	var queue2 Queue
	var telemetry2 Telemetry
	err := DecodeSections(out.Bytes(), "printed", Section{"node", &node2}, Section{"nats", &nats2}, Section{"queue", &queue2}, Section{"telemetry", &telemetry2})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !reflect.DeepEqual(node, node2) || nats != nats2 || queue != queue2 || telemetry != telemetry2 {
		t.Errorf("got %+v %+v %+v %+v", node2, nats2, queue2, telemetry2)
	}
}

func TestMarkdown(t *testing.T) {
	value := defaults()
	var out bytes.Buffer
	if err := Markdown(&out, &value); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| Key | Default | Meaning |\n",
		"| `listen` | `127.0.0.1:4025` | Where to listen. |\n",
		"| `share` | `0.5` | Share \\| of it. |\n",
		"| `pauses` | `[5m, 10m]` | Pauses in order. |\n",
		"| `rules[].match` | | Domain. |\n",
		"| `rules[].tls.deep` | | Deep key. |\n",
		"| `inner` | | More. |\n| `inner.deep` | `x` | Deep key. |\n",
		"| `limits` | `{a: 1}` | Limits by name. |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not written: %q\n%s", want, out.String())
		}
	}
	queue := DefaultQueue()
	out.Reset()
	if err := MarkdownSections(&out, Section{"queue", &queue}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "## queue\n") || !strings.Contains(out.String(), "| `queue.lease_ttl` | `10s` |") {
		t.Errorf("got %s", out.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestPrint_TellsWhenItCannotWrite(t *testing.T) {
	value, queue := defaults(), DefaultQueue()
	section := Section{"queue", &queue}
	for name, err := range map[string]error{
		"Print": Print(brokenWriter{}, &value), "PrintSections": PrintSections(brokenWriter{}, section),
		"Markdown": Markdown(brokenWriter{}, &value), "MarkdownSections": MarkdownSections(brokenWriter{}, section),
	} {
		if err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
