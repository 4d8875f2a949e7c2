// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
)

// writeFigure draws messages a second and CPU time a message as bars, one group a scenario (SVG).
func writeFigure(file string, rows []row) error {
	const left, width, bar, gap = 230, 420, 16, 6
	var shown []row
	top, cost := 0.0, 0.0
	for _, r := range rows {
		if r.PerSecond > 0 && r.System != "ceiling" {
			shown = append(shown, r)
			top, cost = max(top, r.PerSecond), max(cost, r.CPU)
		}
	}
	if len(shown) == 0 {
		return nil
	}
	var b strings.Builder
	height := 60 + len(shown)*(bar+gap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		left+2*width+60, height)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-weight="bold">messages a second</text>`+"\n", left)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-weight="bold">CPU ms a message</text>`+"\n", left+width+60)
	colours := map[string]string{"postfix": "#b0b0b0", "postrider": "#2f6f9f"}
	for i, r := range shown {
		y := 34 + i*(bar+gap)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s, %s %s</text>`+"\n", left-8, y+bar-4, r.Scenario, r.System, r.Submit)
		draw := func(x int, value, most float64, text string) {
			length := int(value / most * float64(width-70))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", x, y, max(1, length), bar, colours[r.System])
			fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", x+length+6, y+bar-4, text)
		}
		draw(left, r.PerSecond, top, fmt.Sprintf("%.0f", r.PerSecond))
		if cost > 0 {
			draw(left+width+60, r.CPU, cost, fmt.Sprintf("%.3f", r.CPU))
		}
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
