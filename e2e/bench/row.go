// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// row is what one run, or the median of several, measured.
type row struct {
	Scenario string `json:"scenario"`
	Submit   string `json:"submit"` // smtp, unary, keyed, many; for latency fresh or kept connections
	System   string `json:"system"` // ceiling, postfix, postrider
	Messages int    `json:"messages"`
	// Complete says that the sink counted each message once.
	Complete bool `json:"complete"`

	PerSecond  float64 `json:"per_second,omitempty"`
	CPU        float64 `json:"cpu_ms_per_message,omitempty"`
	PeakRSS    float64 `json:"peak_rss_mib,omitempty"`
	Fsyncs     float64 `json:"fsyncs_per_message,omitempty"` // flushes of all disks of the machine
	PeakQueue  int     `json:"peak_queue,omitempty"`         // most messages submitted and not yet delivered
	P50        float64 `json:"p50_ms,omitempty"`             // submit begun to end of content at the host
	P99        float64 `json:"p99_ms,omitempty"`
	OfCeiling  float64 `json:"of_ceiling,omitempty"`
	OfPostfix  float64 `json:"of_postfix,omitempty"`
	LowestRate float64 `json:"lowest_per_second,omitempty"` // of the runs the median is of
	HighRate   float64 `json:"highest_per_second,omitempty"`
}

// line is the row for the one who waits.
func (r row) line() string {
	data, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// median takes each figure's median by itself. A single incomplete run makes the row incomplete.
func median(runs []row) row {
	m := runs[0]
	of := func(get func(row) float64) float64 {
		values := make([]float64, len(runs))
		for i, r := range runs {
			values[i] = get(r)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	rate := func(r row) float64 { return r.PerSecond }
	m.PerSecond, m.CPU = of(rate), of(func(r row) float64 { return r.CPU })
	m.PeakRSS = of(func(r row) float64 { return r.PeakRSS })
	m.Fsyncs = of(func(r row) float64 { return r.Fsyncs })
	m.P50, m.P99 = of(func(r row) float64 { return r.P50 }), of(func(r row) float64 { return r.P99 })
	m.PeakQueue = int(of(func(r row) float64 { return float64(r.PeakQueue) }))
	m.LowestRate = slices.MinFunc(runs, func(a, b row) int { return cmp.Compare(a.PerSecond, b.PerSecond) }).PerSecond
	m.HighRate = slices.MaxFunc(runs, func(a, b row) int { return cmp.Compare(a.PerSecond, b.PerSecond) }).PerSecond
	for _, r := range runs {
		m.Complete = m.Complete && r.Complete
	}
	return m
}

// relate fills in the ratios to the ceiling and to Postfix of the same scenario.
func relate(rows []row) []row {
	rate := func(scenario, system string) float64 {
		for _, r := range rows {
			if r.Scenario == scenario && r.System == system {
				return r.PerSecond
			}
		}
		return 0
	}
	for i := range rows {
		if ceiling := rate(rows[i].Scenario, "ceiling"); ceiling > 0 {
			rows[i].OfCeiling = round(rows[i].PerSecond/ceiling, 3)
		}
		if postfix := rate(rows[i].Scenario, "postfix"); postfix > 0 {
			rows[i].OfPostfix = round(rows[i].PerSecond/postfix, 2)
		}
	}
	return rows
}

// printTable prints the rows for people.
func printTable(w io.Writer, rows []row) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "scenario\tsystem\tsubmit\tmessages/s\tof ceiling\t× Postfix\tCPU ms\tRSS MiB\tfsyncs\tqueue\tp50 ms\tp99 ms\tcomplete\t")
	figure := func(v float64, digits int) string {
		if v == 0 {
			return "·"
		}
		return fmt.Sprintf("%.*f", digits, v)
	}
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%v\t\n", r.Scenario, r.System, r.Submit,
			figure(r.PerSecond, 0), figure(r.OfCeiling, 2), figure(r.OfPostfix, 1), figure(r.CPU, 3), figure(r.PeakRSS, 0),
			figure(r.Fsyncs, 3), r.PeakQueue, figure(r.P50, 2), figure(r.P99, 2), r.Complete)
	}
	_ = table.Flush() // a terminal that is gone needs no table
}

// writeRows writes one JSON object a line.
func writeRows(file string, rows []row) error {
	var text bytes.Buffer
	for _, r := range rows {
		text.WriteString(r.line() + "\n")
	}
	return os.WriteFile(file, text.Bytes(), 0o644)
}
