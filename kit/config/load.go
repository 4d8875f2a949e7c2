// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file in bytes.
const maxFile = 4 << 20

// Section is a top-level key of a process's file and the struct behind it.
type Section struct {
	// Name is the key, such as "node" or "gateway".
	Name string
	// Value is a pointer to the struct, holding the defaults.
	Value any
}

// Error is a fault in a file: where it is and what is wrong.
type Error struct {
	// File is the name of the file as given. May be empty.
	File string
	// Line is the line in the file, from 1; 0 when no line is to blame.
	Line int
	// Key is the path of the key, such as "sender.timeouts.greeting" or "sender.destinations[2].match". May be empty.
	Key string
	// Problem is the rest of the sentence: "unknown key".
	Problem string
}

// Error returns "file:line: key: problem".
func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.File, e.Line)
		if e.File == "" {
			where = fmt.Sprintf("line %d", e.Line)
		}
	}
	parts := make([]string, 0, 3)
	for _, part := range []string{where, e.Key, e.Problem} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// Load reads a YAML file over the value into points to: what the file does not name keeps its value. The file's faults
// come joined, each an *Error.
func Load(file string, into any) error {
	data, err := readFile(file)
	if err != nil {
		return err
	}
	return Decode(data, file, into)
}

// LoadSections reads a YAML file whose top-level keys are the sections.
func LoadSections(file string, sections ...Section) error {
	data, err := readFile(file)
	if err != nil {
		return err
	}
	return DecodeSections(data, file, sections...)
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", file, err)
	}
	if len(data) > maxFile {
		return nil, &Error{File: file, Problem: fmt.Sprintf("file is larger than %s", Size(maxFile))}
	}
	return data, nil
}

// Decode is Load for a file's content; file is its name in errors.
func Decode(data []byte, file string, into any) error {
	root, err := parse(data, file)
	if err != nil || root == nil {
		return err
	}
	d := &decoder{file: file}
	d.value(root, target(into), "")
	return errors.Join(d.faults...)
}

// DecodeSections is LoadSections for a file's content; file is its name in errors.
func DecodeSections(data []byte, file string, sections ...Section) error {
	root, err := parse(data, file)
	if err != nil || root == nil {
		return err
	}
	d := &decoder{file: file}
	d.sections(root, sections)
	return errors.Join(d.faults...)
}

// parse returns the root node of the one document in data, nil for an empty one.
func parse(data []byte, file string) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil //nolint:nilnil // an empty file is a file without settings
		}
		return nil, &Error{File: file, Problem: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, &Error{File: file, Line: second.Line, Problem: "more than one YAML document"}
	}
	if len(document.Content) != 1 || isNull(document.Content[0]) {
		return nil, nil //nolint:nilnil // only comments
	}
	return document.Content[0], nil
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }
