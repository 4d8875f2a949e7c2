// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder walks a YAML tree and a Go value side by side and collects the faults.
type decoder struct {
	file   string
	faults []error
}

// target returns the value a pointer points to.
func target(into any) reflect.Value {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		panic(fmt.Sprintf("config: %T is not a pointer to a value", into))
	}
	return v.Elem()
}

func (d *decoder) fault(node *yaml.Node, key, problem string) {
	d.faults = append(d.faults, &Error{File: d.file, Line: node.Line, Key: key, Problem: problem})
}

// sections reads the top level of a process's file.
func (d *decoder) sections(root *yaml.Node, sections []Section) {
	d.mapping(root, "", func(name string, key, node *yaml.Node) {
		for _, s := range sections {
			if s.Name == name {
				d.value(node, target(s.Value), name)
				return
			}
		}
		d.fault(key, name, "unknown section")
	})
}

// mapping calls each for every key of a mapping, and reports keys given twice.
func (d *decoder) mapping(node *yaml.Node, path string, each func(name string, key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		d.fault(node, path, "must be a mapping of keys and values")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			d.fault(key, path, "key must be a plain word; merge keys are not taken")
			continue
		}
		name := join(path, key.Value)
		if line, twice := seen[key.Value]; twice {
			d.fault(key, name, fmt.Sprintf("key given twice, first in line %d", line))
			continue
		}
		seen[key.Value] = key.Line
		each(key.Value, key, value)
	}
}

// value sets v from node.
func (d *decoder) value(node *yaml.Node, v reflect.Value, path string) {
	switch {
	case node.Kind == yaml.AliasNode:
		d.fault(node, path, "aliases are not taken; write the value out")
	case v.Kind() == reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			fresh.Elem().Set(v.Elem())
		}
		d.value(node, fresh.Elem(), path)
		v.Set(fresh)
	case isLeaf(v.Type()):
		d.leaf(node, v, path)
	case v.Kind() == reflect.Struct && isNull(node): // "gateway:" with nothing behind it changes nothing
	case v.Kind() == reflect.Struct:
		d.structure(node, v, path)
	case v.Kind() == reflect.Slice:
		d.slice(node, v, path)
	case v.Kind() == reflect.Map:
		d.table(node, v, path)
	default:
		panic(fmt.Sprintf("config: %s has a type that no file can hold: %s", path, v.Type()))
	}
}

func (d *decoder) structure(node *yaml.Node, v reflect.Value, path string) {
	fields := map[string]reflect.Value{}
	for _, f := range fieldsOf(v) {
		fields[f.key] = f.value
	}
	d.mapping(node, path, func(name string, key, value *yaml.Node) {
		field, known := fields[name]
		if !known {
			d.fault(key, join(path, name), "unknown key")
			return
		}
		d.value(value, field, join(path, name))
	})
}

func (d *decoder) slice(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.SequenceNode {
		d.fault(node, path, "must be a list; write [] for an empty one")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
	for i, element := range node.Content {
		d.value(element, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(list)
}

func (d *decoder) table(node *yaml.Node, v reflect.Value, path string) {
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("config: %s is a map with keys of type %s", path, v.Type().Key()))
	}
	table := reflect.MakeMap(v.Type())
	d.mapping(node, path, func(name string, _, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, join(path, name))
		table.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), element)
	})
	v.Set(table)
}

// leaf sets a scalar, or a type that reads itself.
func (d *decoder) leaf(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.ScalarNode {
		d.fault(node, path, "must be "+kindWord(v.Type())+", not a list or mapping")
		return
	}
	if isNull(node) {
		d.fault(node, path, `has no value; leave the key out for the default, write "" for an empty one`)
		return
	}
	fresh := reflect.New(v.Type())
	err := node.Decode(fresh.Interface())
	switch {
	case err != nil && readsItself(v.Type()):
		d.fault(node, path, err.Error())
	case err != nil || !fits(node.Tag, v.Kind()):
		d.fault(node, path, fmt.Sprintf("must be %s, not %q", kindWord(v.Type()), node.Value))
	default:
		v.Set(fresh.Elem())
	}
}

// fits reports whether a scalar is of the kind of its field as it stands: the YAML library would cut 1.5 to 1 for a whole
// number and read yes as true.
func fits(tag string, kind reflect.Kind) bool {
	switch kind {
	case reflect.Bool:
		return tag == "!!bool"
	case reflect.Float32, reflect.Float64:
		return tag == "!!float" || tag == "!!int"
	case reflect.String:
		return tag != "!!binary"
	case reflect.Struct:
		return true
	default:
		return tag == "!!int" || tag == "!!str" // !!str: a type that reads itself, such as Duration
	}
}

func kindWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if readsItself(t) {
			return "a single value"
		}
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that is not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a single value"
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return strings.Join([]string{path, name}, ".")
}
