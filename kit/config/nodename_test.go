// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

func TestLocalNameIsNeverEmpty(t *testing.T) {
	if got := (Node{Name: "mail.example"}).LocalName(); got != "mail.example" {
		t.Errorf("named node: %q", got)
	}
	if got := (Node{}).LocalName(); got == "" {
		t.Error("a node without a name has no local name either")
	}
}
