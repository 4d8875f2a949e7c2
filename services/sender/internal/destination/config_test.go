// SPDX-License-Identifier: Apache-2.0

package destination

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/kit/config"
)

func TestQ05_TheMostSpecificEntryCounts(t *testing.T) {
	table := List{
		{Match: "*", MaxSize: 1},
		{Match: "*.example.test", MaxSize: 2},
		{Match: "Mail.Example.test", MaxSize: 3},
		{Match: "*.deep.example.test", MaxSize: 4},
		{Match: "mx.site.test", MaxSize: 5},
		{Match: "bücher.test", MaxSize: 6},
		{Match: "[192.0.2.1]", MaxSize: 7},
	}.Table()
	for domain, want := range map[string]config.Size{
		"other.test": 1, "example.test": 1, "a.example.test": 2, "a.b.example.test": 2, "mail.example.test": 3,
		"x.deep.example.test": 4, "deep.example.test": 2, "xn--bcher-kva.test": 6, "[192.0.2.1]": 7, "": 1,
	} {
		if got := table.For(domain, "").MaxSize; got != want {
			t.Errorf("%q: entry %d, want %d", domain, got, want)
		}
	}
	if got := table.For("a.example.test", "mx.site.test").MaxSize; got != 5 {
		t.Errorf("by site: entry %d", got)
	}
	several := List{{Match: "MX2.site.test,mx1.site.test", MaxSize: 8}, {Match: "c.test,b.test+0123ABCD", MaxSize: 9}}
	if err := several.Validate(); err != nil {
		t.Error(err)
	}
	for site, want := range map[string]config.Size{"mx1.site.test,mx2.site.test": 8, "b.test,c.test+0123abcd": 9, "mx1.site.test": 0} {
		if got := several.Table().For("a.test", site).MaxSize; got != want {
			t.Errorf("site %s: entry %d, want %d", site, got, want)
		}
	}
	if err := (List{{Match: "mx1.test,not a host"}}).Validate(); err == nil {
		t.Error("a site with a host that is no name is taken")
	}
	if got := table.For("mail.example.test", "mx.site.test").MaxSize; got != 3 {
		t.Errorf("domain before site: entry %d", got)
	}
	if got := (List{{Match: "a.test", MaxSize: 1}}).Table().For("b.test", ""); got != (Config{}) {
		t.Errorf("no entry: %+v", got)
	}
	if got := (Table{}).For("b.test", "x"); got != (Config{}) {
		t.Errorf("no list: %+v", got)
	}
}

func TestR52_SmarthostRoute(t *testing.T) {
	for want, s := range map[string]Smarthost{
		"": {}, "relay.test": {Host: "relay.test"}, "[relay.test]:587": {Host: "[relay.test]", Port: 587},
	} {
		if got := s.Route(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := List{
		{Match: "*"},
		{Match: "a.test", TLS: TLSVerify, Connections: 5, Rate: 60, MaxSize: config.MiB},
		{Match: "b.test", Smarthost: Smarthost{Host: "[192.0.2.1]", Port: 25}},
		{Match: "c.test", Smarthost: Smarthost{Host: "relay.test", Username: "u", PasswordFile: "f"}},
		{Match: "d.test", TLS: TLSVerify, Smarthost: Smarthost{Host: "relay.test", Username: "u", PasswordFile: "f"}},
		{Match: "e.test", TLS: TLSOff, Smarthost: Smarthost{Host: "relay.test", Username: "u", PasswordFile: "f", InsecureAuth: true}},
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for key, bad := range map[string]Config{
		"[0].match":               {Match: ""},
		"[0].match: must":         {Match: "a b"},
		"[0].connections":         {Match: "*", Connections: -1},
		"[0].rate":                {Match: "*", Rate: -1},
		"[0].tls":                 {Match: "*", TLS: "yes"},
		"[0].smarthost.host":      {Match: "*", Smarthost: Smarthost{Host: "[relay.test"}},
		"[0].smarthost.port":      {Match: "*", Smarthost: Smarthost{Host: "relay.test", Port: 70000}},
		"[0].smarthost":           {Match: "*", Smarthost: Smarthost{Port: 25}},
		"[0].tls: must be verify": {Match: "*", TLS: TLSOpportunistic, Smarthost: Smarthost{Host: "relay.test", Username: "u", PasswordFile: "f"}},
		"[0].smarthost: user":     {Match: "*", Smarthost: Smarthost{Host: "relay.test", Username: "u"}},
	} {
		err := List{bad}.Validate()
		if err == nil || !strings.Contains(err.Error(), "sender.destinations"+key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := (List{{Match: "a.test"}, {Match: "A.TEST"}}).Validate(); err == nil {
		t.Error("two entries for one domain are taken")
	}
}
