// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Markdown writes value, a pointer to a configuration struct, as a table of keys, defaults and meanings for
// docs/config.md.
func Markdown(w io.Writer, value any) error {
	var b bytes.Buffer
	b.WriteString("| Key | Default | Meaning |\n| --- | --- | --- |\n")
	rows(&b, target(value), "")
	_, err := w.Write(b.Bytes())
	return err
}

// MarkdownSections is Markdown for a process's file: one heading and table a section.
func MarkdownSections(w io.Writer, sections ...Section) error {
	for i, s := range sections {
		gap := "\n"
		if i == 0 {
			gap = ""
		}
		if _, err := fmt.Fprintf(w, "%s## %s\n\n| Key | Default | Meaning |\n| --- | --- | --- |\n", gap, s.Name); err != nil {
			return err
		}
		var b bytes.Buffer
		rows(&b, target(s.Value), s.Name)
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// rows writes one row a key, and for structs one a key inside.
func rows(b *bytes.Buffer, v reflect.Value, path string) {
	for _, f := range fieldsOf(v) {
		key := join(path, f.key)
		if isStruct(f.value.Type()) {
			fmt.Fprintf(b, "| `%s` | | %s |\n", key, cell(f.help))
			rows(b, f.value, key)
			continue
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", key, cell(flow(f.value)), cell(f.help))
		if f.value.Kind() == reflect.Slice && isStruct(f.value.Type().Elem()) {
			elementRows(b, f.value.Type().Elem(), key+"[]")
		}
	}
}

// elementRows lists the keys of list elements, which have no defaults of their own in the file.
func elementRows(b *bytes.Buffer, t reflect.Type, path string) {
	for _, f := range fieldsOf(reflect.New(t).Elem()) {
		key := join(path, f.key)
		fmt.Fprintf(b, "| `%s` | | %s |\n", key, cell(f.help))
		if isStruct(f.value.Type()) {
			elementRows(b, f.value.Type(), key)
		}
	}
}

// flow returns a value on one line of YAML.
func flow(v reflect.Value) string {
	node := valueNode(v)
	setFlow(node)
	text, err := yaml.Marshal(node)
	if err != nil {
		panic(fmt.Sprintf("config: a %s cannot be written: %v", v.Type(), err))
	}
	return strings.TrimSpace(string(text))
}

func setFlow(node *yaml.Node) {
	if node.Kind != yaml.ScalarNode {
		node.Style = yaml.FlowStyle
	}
	node.HeadComment = ""
	for _, child := range node.Content {
		setFlow(child)
	}
}

// cell makes text fit for a table cell.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}
