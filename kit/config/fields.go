// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// field is one key of a struct.
type field struct {
	key   string
	help  string
	value reflect.Value
}

// fieldsOf returns the keys of a struct in order. Every exported field needs a yaml tag: a forgotten one would be a key
// nobody documented. Fields tagged "-" are not part of the file; those tagged ",inline" belong to the outer struct.
func fieldsOf(v reflect.Value) []field {
	var fields []field
	for i := range v.NumField() {
		declared := v.Type().Field(i)
		if !declared.IsExported() {
			continue
		}
		key, options, _ := strings.Cut(declared.Tag.Get("yaml"), ",")
		switch {
		case key == "-":
		case options == "inline":
			fields = append(fields, fieldsOf(v.Field(i))...)
		case key == "":
			panic(fmt.Sprintf("config: field %s of %s has no yaml tag", declared.Name, v.Type()))
		default:
			fields = append(fields, field{key: key, help: declared.Tag.Get("help"), value: v.Field(i)})
		}
	}
	return fields
}

// isLeaf reports a type that is one value in the file.
func isLeaf(t reflect.Type) bool {
	if readsItself(t) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	default:
		return false
	}
}

// readsItself reports a type with a text form of its own, such as Duration or netip.Prefix.
func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[yaml.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
