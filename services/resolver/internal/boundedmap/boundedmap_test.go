// SPDX-License-Identifier: Apache-2.0

package boundedmap

import (
	"slices"
	"testing"
)

// keys walks the list both ways and checks that it agrees with the map.
func keys(t *testing.T, m *Map[string, int]) []string {
	t.Helper()
	var up, down []string
	for e := m.oldest; e != nil; e = e.younger {
		up = append(up, e.key)
	}
	for e := m.youngest; e != nil; e = e.older {
		down = append(down, e.key)
	}
	slices.Reverse(down)
	if !slices.Equal(up, down) || len(up) != m.Len() {
		t.Fatalf("upwards %v, downwards %v, length %d", up, down, m.Len())
	}
	return up
}

func want(t *testing.T, m *Map[string, int], all ...string) {
	t.Helper()
	if got := keys(t, m); !slices.Equal(got, all) {
		t.Fatalf("keys %v, want %v", got, all)
	}
}

func TestR27_FirstInFirstOut(t *testing.T) {
	m := New[string, int](3)
	for i, k := range []string{"a", "b", "c", "d"} {
		m.Put(k, i)
	}
	want(t, m, "b", "c", "d")
	m.Put("b", 7) // becomes the youngest
	want(t, m, "c", "d", "b")
	m.Put("e", 8)
	want(t, m, "d", "b", "e")
	if v, ok := m.Get("b"); v != 7 || !ok {
		t.Errorf("b is %d, %t", v, ok)
	}
	if _, ok := m.Get("c"); ok {
		t.Error("c is still there")
	}
}

func TestDelete(t *testing.T) {
	m := New[string, int](10)
	for i, k := range []string{"a", "b", "c", "d", "e"} {
		m.Put(k, i)
	}
	m.Delete("c")
	m.Delete("c")
	want(t, m, "a", "b", "d", "e")
	m.Delete("a")
	m.Delete("e")
	want(t, m, "b", "d")
	if n := m.DeleteFunc(func(string, int) bool { return true }); n != 2 {
		t.Errorf("dropped %d", n)
	}
	want(t, m)
	m.Put("f", 1)
	want(t, m, "f")
}

func TestLimitIsAtLeastOne(t *testing.T) {
	m := New[string, int](0)
	m.Put("a", 1)
	m.Put("b", 2)
	want(t, m, "b")
}
