// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sample has every kind of field a section may have.
type sample struct {
	Listen   string            `yaml:"listen" help:"Where to listen."`
	Max      Size              `yaml:"max_message_size" help:"Largest message."`
	Wait     Duration          `yaml:"wait" help:"How long to wait."`
	Count    int               `yaml:"count" help:"How many."`
	Port     uint16            `yaml:"port" help:"Port."`
	Share    float64           `yaml:"share" help:"Share | of it."`
	On       bool              `yaml:"on" help:"Whether."`
	Pauses   []Duration        `yaml:"pauses" help:"Pauses in order."`
	Networks []netip.Prefix    `yaml:"networks" help:"Networks."`
	Rules    []rule            `yaml:"rules" help:"Rules, the first that matches counts."`
	Limits   map[string]int    `yaml:"limits" help:"Limits by name."`
	Inner    inner             `yaml:"inner" help:"More."`
	Maybe    *inner            `yaml:"maybe" help:"Perhaps more."`
	Labels   map[string]string `yaml:"labels" help:"Labels."`
	Shared   shared            `yaml:",inline"`
	Hidden   func()            `yaml:"-"`
}

type rule struct {
	Match string   `yaml:"match" help:"Domain."`
	Wait  Duration `yaml:"wait" help:"Pause."`
	TLS   inner    `yaml:"tls" help:"TLS."`
}

type inner struct {
	Deep string `yaml:"deep" help:"Deep key."`
}

type shared struct {
	Common string `yaml:"common" help:"Inlined key."`
}

func defaults() sample {
	return sample{
		Listen: "127.0.0.1:4025", Max: 50 * MiB, Wait: Duration(5 * time.Minute), Count: 3, Port: 25, Share: 0.5, On: true,
		Pauses:   []Duration{Duration(5 * time.Minute), Duration(10 * time.Minute)},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Rules:    []rule{}, Limits: map[string]int{"a": 1}, Labels: map[string]string{},
		Inner: inner{Deep: "x"}, Maybe: &inner{Deep: "y"}, Shared: shared{Common: "z"},
	}
}

func TestLoad_OverTheDefaults(t *testing.T) {
	file := configFile(t, `
# a comment
listen: 127.0.0.1:5025
max_message_size: 10MiB
wait: 90s
pauses: [1m, 2m, 3m]
networks: [2001:db8::/32]
rules:
  - match: example.com
    wait: 1h
    tls:
      deep: down
  - match: "*"
limits: {b: 2}
inner:
maybe:
  deep: yy
common: shared
`)
	got := defaults()
	if err := Load(file, &got); err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Listen, want.Max, want.Wait = "127.0.0.1:5025", 10*MiB, Duration(90*time.Second)
	want.Pauses = []Duration{Duration(time.Minute), Duration(2 * time.Minute), Duration(3 * time.Minute)}
	want.Networks = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	want.Rules = []rule{{Match: "example.com", Wait: Duration(time.Hour), TLS: inner{Deep: "down"}}, {Match: "*"}}
	want.Limits = map[string]int{"b": 2} // a list or table replaces its default
	want.Maybe, want.Shared.Common = &inner{Deep: "yy"}, "shared"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoad_DoesNotTouchTheDefaultsPointedTo(t *testing.T) {
	base := defaults()
	got := base
	if err := Decode([]byte("maybe: {deep: changed}"), "f", &got); err != nil {
		t.Fatal(err)
	}
	if base.Maybe.Deep != "y" || got.Maybe.Deep != "changed" {
		t.Errorf("defaults now %q, value %q", base.Maybe.Deep, got.Maybe.Deep)
	}
}

func TestLoad_EmptyFilesChangeNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "# only a comment\n", "---\n", "~"} {
		got := defaults()
		if err := Decode([]byte(text), "f", &got); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if !reflect.DeepEqual(got, defaults()) {
			t.Errorf("%q changed the defaults", text)
		}
	}
}

func TestLoad_FaultsNameKeyAndLine(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "count: 1\nlisten_on: x\n", "f.yaml:2: listen_on: unknown key"},
		{"unknown key deep", "inner:\n  depp: x\n", "f.yaml:2: inner.depp: unknown key"},
		{"unknown key in list", "rules:\n- match: a\n- mtach: b\n", "f.yaml:3: rules[1].mtach: unknown key"},
		{"Go name is no key", "Count: 1\n", "f.yaml:1: Count: unknown key"},
		{"hidden field", "hidden: 1\n", "f.yaml:1: hidden: unknown key"},
		{"key twice", "count: 1\non: true\ncount: 2\n", "f.yaml:3: count: key given twice, first in line 1"},
		{"key twice deep", "inner: {deep: a, deep: b}\n", "f.yaml:1: inner.deep: key given twice, first in line 1"},
		{"key twice in a table", "limits: {a: 1, a: 2}\n", "f.yaml:1: limits.a: key given twice, first in line 1"},
		{"no number", "count: many\n", `f.yaml:1: count: must be a whole number, not "many"`},
		{"fraction", "count: 1.5\n", `f.yaml:1: count: must be a whole number, not "1.5"`},
		{"negative", "port: -1\n", `f.yaml:1: port: must be a whole number that is not negative, not "-1"`},
		{"too large", "port: 70000\n", `f.yaml:1: port: must be a whole number that is not negative, not "70000"`},
		{"no boolean", "on: perhaps\n", `f.yaml:1: on: must be true or false, not "perhaps"`},
		{"yes is a word", "on: yes\n", `f.yaml:1: on: must be true or false, not "yes"`},
		{"binary", "listen: !!binary aGk=\n", `f.yaml:1: listen: must be a single value, not "aGk="`},
		{"no float", "share: half\n", `f.yaml:1: share: must be a number, not "half"`},
		{"duration without unit", "wait: 5\n", `f.yaml:1: wait: must be a duration such as 30s, 5m, 4h or 5d, not "5"`},
		{"duration in a list", "pauses: [1m, soon]\n", `f.yaml:1: pauses[1]: must be a duration such as 30s, 5m, 4h or 5d, not "soon"`},
		{"decimal size", "max_message_size: 10MB\n", `f.yaml:1: max_message_size: must be a size in bytes or with KiB, MiB, GiB or TiB, such as 50MiB, not "10MB"`},
		{"list for a value", "listen: [a]\n", "f.yaml:1: listen: must be a single value, not a list or mapping"},
		{"list for a number", "count: [1]\n", "f.yaml:1: count: must be a whole number, not a list or mapping"},
		{"value for a list", "pauses: 5m\n", "f.yaml:1: pauses: must be a list; write [] for an empty one"},
		{"value for a mapping", "inner: x\n", "f.yaml:1: inner: must be a mapping of keys and values"},
		{"nothing for a value", "listen:\n", `f.yaml:1: listen: has no value; leave the key out for the default, write "" for an empty one`},
		{"nothing for a list", "pauses:\n", "f.yaml:1: pauses: must be a list; write [] for an empty one"},
		{"list at the top", "- a\n", "f.yaml:1: must be a mapping of keys and values"},
		{"alias", "inner: &a {deep: x}\nmaybe: *a\n", "f.yaml:2: maybe: aliases are not taken; write the value out"},
		{"merge key", "inner:\n  <<: {deep: x}\n", "f.yaml:2: inner: key must be a plain word; merge keys are not taken"},
		{"key that is a list", "? [a]\n: b\n", "f.yaml:1: key must be a plain word; merge keys are not taken"},
		{"two documents", "count: 1\n---\ncount: 2\n", "f.yaml:2: more than one YAML document"},
		{"no YAML", "count: [1\n", "f.yaml: not YAML: "},
		{"tab", "inner:\n\tdeep: x\n", "f.yaml: not YAML: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := defaults()
			err := Decode([]byte(tt.text), "f.yaml", &got)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("untyped error %T", err)
			}
			if strings.Contains(err.Error(), "config.") {
				t.Errorf("a Go type in %q", err)
			}
		})
	}
}

func TestLoad_TellsAllFaultsAtOnce(t *testing.T) {
	got := defaults()
	err := Decode([]byte("cuont: 1\nport: x\nwait: 1\n"), "f", &got)
	for _, want := range []string{"cuont", "port", "wait"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
}

func TestLoad_FilesThatCannotBeRead(t *testing.T) {
	var v sample
	if err := Load(filepath.Join(t.TempDir(), "none.yaml"), &v); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if err := Load(t.TempDir(), &v); err == nil {
		t.Error("a folder was read")
	}
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, bytes.Repeat([]byte("#\n"), maxFile/2+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(large, &v); err == nil || !strings.Contains(err.Error(), "larger than 4MiB") {
		t.Errorf("large file: %v", err)
	}
}

func TestLoadSections(t *testing.T) {
	node, own := DefaultNode(), inner{Deep: "default"}
	file := configFile(t, "node:\n  name: mail.example.com\ngateway:\n  deep: set\n")
	if err := LoadSections(file, Section{"node", &node}, Section{"gateway", &own}); err != nil {
		t.Fatal(err)
	}
	if node.Name != "mail.example.com" || own.Deep != "set" {
		t.Errorf("got %+v %+v", node, own)
	}
	for text, want := range map[string]string{
		"node: {}\nresolver: {}\n": "f:2: resolver: unknown section",
		"node: {}\nnode: {}\n":     "f:2: node: key given twice, first in line 1",
		"node:\n  nickname: x\n":   "f:2: node.nickname: unknown key",
		"gateway: 1\n":             "f:1: gateway: must be a mapping of keys and values",
	} {
		err := DecodeSections([]byte(text), "f", Section{"node", &node}, Section{"gateway", &own})
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLoad_ListAtTheTop(t *testing.T) {
	var list []rule
	if err := Decode([]byte("- match: a\n- match: b\n"), "f", &list); err != nil || len(list) != 2 || list[1].Match != "b" {
		t.Errorf("%v %v", list, err)
	}
	if err := Decode([]byte("- macth: a\n"), "f", &list); err == nil || err.Error() != "f:1: [0].macth: unknown key" {
		t.Errorf("%v", err)
	}
}

func TestDecode_ProgrammingErrorsPanic(t *testing.T) {
	for name, into := range map[string]any{
		"no pointer":  sample{},
		"nil pointer": (*sample)(nil),
		"no tag":      &struct{ Name string }{},
		"a channel": &struct {
			C chan int `yaml:"c"`
		}{},
		"numeric keys": &struct {
			C map[int]string `yaml:"c"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("nothing was said")
				}
			}()
			_ = Decode([]byte("c: {}\n"), "f", into)
		})
	}
}

// FuzzDecode: no file makes the decoder panic, hang or accept what Print writes differently.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"count: 1\n", "rules:\n- match: a\n", "a: &a [*a]\n", "limits: {a: 1}", "? [a]\n: b", "count: 0x10", "listen: !!binary aGk=", "on: yes\n", "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := defaults()
		if err := Decode(data, "f", &got); err != nil {
			return
		}
		var out bytes.Buffer
		if err := Print(&out, &got); err != nil {
			t.Fatal(err)
		}
		again := defaults()
		if err := Decode(out.Bytes(), "printed", &again); err != nil {
			t.Fatalf("%q was read, its print was not: %v\n%s", data, err, out.String())
		}
		if got.Share != got.Share { // NaN is not equal to itself
			return
		}
		if !reflect.DeepEqual(got, again) {
			t.Fatalf("%q: %+v printed and read as %+v\n%s", data, got, again, out.String())
		}
	})
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
