// SPDX-License-Identifier: Apache-2.0

package config

import (
	"testing"
	"time"
)

func TestDuration_ReadAndWrite(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
		out  string
	}{
		{"0s", 0, "0s"},
		{"5m", 5 * time.Minute, "5m"},
		{"300s", 5 * time.Minute, "5m"},
		{"90m", 90 * time.Minute, "1h30m"},
		{"1h0m5s", time.Hour + 5*time.Second, "1h0m5s"},
		{"5d", 120 * time.Hour, "5d"},
		{"24h", 24 * time.Hour, "1d"},
		{"1d12h", 36 * time.Hour, "36h"},
		{"1.5s", 1500 * time.Millisecond, "1.5s"},
		{"20ms", 20 * time.Millisecond, "20ms"},
		{" 4h ", 4 * time.Hour, "4h"},
		{"10h10m", 10*time.Hour + 10*time.Minute, "10h10m"},
		{"10h", 10 * time.Hour, "10h"},
		{"10m", 10 * time.Minute, "10m"},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.in)
		if err != nil || got.Std() != tt.want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", tt.in, got.Std(), err, tt.want)
			continue
		}
		if got.String() != tt.out {
			t.Errorf("%q is written %q, want %q", tt.in, got, tt.out)
		}
	}
	for _, bad := range []string{"", "5", "5 m", "m", "-5m", "d", "-1d", "1.5d", "5d5", "5dx", "1d-1h", "99999d99999999h", "9999999999h", "5M", "1d1d"} {
		if got, err := ParseDuration(bad); err == nil {
			t.Errorf("ParseDuration(%q) = %v", bad, got)
		}
	}
}

func TestSize_ReadAndWrite(t *testing.T) {
	tests := []struct {
		in   string
		want Size
		out  string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1000"},
		{"1024", KiB, "1KiB"},
		{"64KiB", 64 * KiB, "64KiB"},
		{"50MiB", 50 * MiB, "50MiB"},
		{"50 MiB", 50 * MiB, "50MiB"},
		{"1024MiB", GiB, "1GiB"},
		{"8GiB", 8 * GiB, "8GiB"},
		{"2TiB", 2 * TiB, "2TiB"},
		{"1536KiB", 1536 * KiB, "1536KiB"},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
			continue
		}
		if got.String() != tt.out {
			t.Errorf("%q is written %q, want %q", tt.in, got, tt.out)
		}
	}
	for _, bad := range []string{"", "MiB", "10MB", "10M", "10kb", "-1", "-1MiB", "1.5MiB", "0x10", "9223372036854775808", "8388608TiB", "1MiBMiB"} {
		if got, err := ParseSize(bad); err == nil {
			t.Errorf("ParseSize(%q) = %d", bad, got)
		}
	}
}

// FuzzDuration: what is read is never negative and is written in a form that reads the same.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"5m", "1d12h", "1h0m5s", "0s", "106751d", "9223372036854775807ns", "1.000000001s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is %d", text, d)
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Fatalf("%q is written %q, which reads as %v, %v", text, d, again, err)
		}
	})
}

// FuzzSize: as FuzzDuration.
func FuzzSize(f *testing.F) {
	for _, seed := range []string{"50MiB", "1024", "8388607TiB", "9223372036854775807", " 1 KiB"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSize(text)
		if err != nil {
			return
		}
		if s < 0 || s.Bytes() != int64(s) {
			t.Fatalf("%q is %d", text, s)
		}
		if again, err := ParseSize(s.String()); err != nil || again != s {
			t.Fatalf("%q is written %q, which reads as %v, %v", text, s, again, err)
		}
	})
}
