// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io"
	"reflect"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// commentWidth is where comments are wrapped.
const commentWidth = 100

// Print writes value, a pointer to a configuration struct, as YAML that Load reads back to the same value: every key
// with its value and, above it, its help as a comment. The keys of list elements stand in the comment of an empty list.
func Print(w io.Writer, value any) error {
	return write(w, structNode(target(value)))
}

// PrintSections is Print for a process's file.
func PrintSections(w io.Writer, sections ...Section) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range sections {
		root.Content = append(root.Content, scalar(s.Name), structNode(target(s.Value)))
	}
	return write(w, root)
}

func write(w io.Writer, root *yaml.Node) error {
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return nil
}

func scalar(text string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(text)
	return node
}

// structNode returns a mapping with the help of each key above it.
func structNode(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v) {
		key := scalar(f.key)
		key.HeadComment = comment(f)
		node.Content = append(node.Content, key, valueNode(f.value))
	}
	if len(node.Content) == 0 {
		node.Style = yaml.FlowStyle
	}
	return node
}

func valueNode(v reflect.Value) *yaml.Node {
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return valueNode(reflect.New(v.Type().Elem()).Elem())
		}
		return valueNode(v.Elem())
	case isLeaf(v.Type()):
		return leafNode(v)
	case v.Kind() == reflect.Struct:
		return structNode(v)
	case v.Kind() == reflect.Slice:
		return sliceNode(v)
	case v.Kind() == reflect.Map:
		return tableNode(v)
	default:
		panic(fmt.Sprintf("config: no file can hold a %s", v.Type()))
	}
}

func leafNode(v reflect.Value) *yaml.Node {
	node := &yaml.Node{}
	if err := node.Encode(v.Interface()); err != nil {
		panic(fmt.Sprintf("config: a %s cannot be written: %v", v.Type(), err))
	}
	return node
}

func sliceNode(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		node.Content = append(node.Content, valueNode(v.Index(i)))
	}
	if v.Len() == 0 || isLeaf(v.Type().Elem()) {
		node.Style = yaml.FlowStyle
	}
	return node
}

func tableNode(v reflect.Value) *yaml.Node {
	node := &yaml.Node{Kind: yaml.MappingNode}
	names := v.MapKeys()
	sort.Slice(names, func(i, j int) bool { return names[i].String() < names[j].String() })
	for _, name := range names {
		node.Content = append(node.Content, scalar(name.String()), valueNode(v.MapIndex(name)))
	}
	if v.Len() == 0 {
		node.Style = yaml.FlowStyle
	}
	return node
}

// comment returns the help of a key, for an empty list of structs with the keys of an element.
func comment(f field) string {
	lines := wrap(f.help, "")
	if f.value.Kind() == reflect.Slice && f.value.Len() == 0 && isStruct(f.value.Type().Elem()) {
		lines = append(lines, "Keys of an element:")
		lines = append(lines, elementHelp(f.value.Type().Elem(), "  ")...)
	}
	return strings.Join(lines, "\n")
}

func isStruct(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isLeaf(t) }

// elementHelp lists the keys of a struct type with their helps.
func elementHelp(t reflect.Type, indent string) []string {
	var lines []string
	for _, f := range fieldsOf(reflect.New(t).Elem()) {
		lines = append(lines, wrap(f.key+": "+f.help, indent)...)
		if isStruct(f.value.Type()) {
			lines = append(lines, elementHelp(f.value.Type(), indent+"  ")...)
		}
	}
	return lines
}

// wrap breaks text into lines of comments.
func wrap(text, indent string) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(indent)+len(line)+1+len(word) > commentWidth {
			lines = append(lines, indent+line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, indent+line)
	}
	return lines
}
