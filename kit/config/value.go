// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a time span that stands in YAML as a string: "90s", "5m", "1h30m", "5d" (a day is 24 hours). It is never
// negative.
type Duration time.Duration

// Std returns the span as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// ParseDuration reads "90s", "5m", "1h30m", "5d", "1d12h". Units are d, h, m, s, ms, us and ns.
func ParseDuration(text string) (Duration, error) {
	rest := strings.TrimSpace(text)
	var days time.Duration
	if number, after, found := strings.Cut(rest, "d"); found {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, durationFault(text)
		}
		days, rest = time.Duration(n)*24*time.Hour, after
		if rest == "" {
			return Duration(days), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > math.MaxInt64-days {
		return 0, durationFault(text)
	}
	return Duration(days + d), nil
}

func durationFault(text string) error {
	return fmt.Errorf("must be a duration such as 30s, 5m, 4h or 5d, not %q", text)
}

// String returns the span in the form ParseDuration reads, without zero parts: "5m", "1h30m", "5d".
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	switch {
	case d == 0:
		return "0s"
	case d >= day && d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalYAML gives the string.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalYAML takes a string.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := ParseDuration(node.Value)
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// Size is a number of bytes that stands in YAML as a plain number or with a binary unit: 1048576, "64KiB", "50MiB",
// "8GiB". It is never negative.
type Size int64

// The binary units.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// units in the order in which String prefers them.
func units() []struct {
	name string
	size Size
} {
	return []struct {
		name string
		size Size
	}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}}
}

// Bytes returns the number of bytes.
func (s Size) Bytes() int64 { return int64(s) }

// ParseSize reads 1048576, "64KiB", "50 MiB", "8GiB". Decimal units are refused, since they are so often meant as
// binary ones.
func ParseSize(text string) (Size, error) {
	number, unit := strings.TrimSpace(text), Size(1)
	for _, u := range units() {
		if rest, found := strings.CutSuffix(number, u.name); found {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("must be a size in bytes or with KiB, MiB, GiB or TiB, such as 50MiB, not %q", text)
	}
	if Size(n) > math.MaxInt64/unit {
		return 0, errors.New("is a size too large to count")
	}
	return Size(n) * unit, nil
}

// String returns the size with the largest unit that gives a whole number: "50MiB", "1000".
func (s Size) String() string {
	for _, u := range units() {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalYAML gives the string.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// UnmarshalYAML takes a number or a string.
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := ParseSize(node.Value)
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}
