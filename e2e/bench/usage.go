// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// group is a control group: what runs in it is the system under test.
type group struct{ dir string }

// newGroup makes a control group (version 1 cpuacct, or version 2).
func newGroup(name string) (group, error) {
	for _, root := range []string{"/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return group{}, err
		}
		return group{dir}, nil
	}
	return group{}, errors.New("no control groups below /sys/fs/cgroup")
}

// command runs a program inside the group.
func (g group) command(program string, args ...string) []string {
	return append([]string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, g.dir, program}, args...)
}

// cpu returns the CPU seconds used so far, user and system.
func (g group) cpu() (float64, error) {
	if data, err := os.ReadFile(filepath.Join(g.dir, "cpuacct.usage")); err == nil {
		ns, err := strconv.ParseFloat(strings.TrimSpace(string(data)), 64)
		return ns / 1e9, err
	}
	data, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "usage_usec "); ok {
			us, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			return us / 1e6, err
		}
	}
	return 0, fmt.Errorf("no usage_usec in %s", data)
}

// rss sums the resident MiB of the group's processes; pages they share count once for each.
func (g group) rss() float64 {
	pids, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return 0
	}
	pages := 0.0
	for _, pid := range strings.Fields(string(pids)) {
		statm, err := os.ReadFile(filepath.Join("/proc", pid, "statm"))
		if err != nil {
			continue // it has ended since
		}
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			n, _ := strconv.ParseFloat(fields[1], 64) // the kernel writes a number
			pages += n
		}
	}
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

// flushes sums the flushes that the machine's disks have done.
func flushes() float64 {
	data, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0
	}
	sum := 0.0
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) < 19 || strings.HasPrefix(f[2], "loop") {
			continue
		}
		if _, err := os.Stat("/sys/block/" + f[2]); err != nil { // a partition
			continue
		}
		n, _ := strconv.ParseFloat(f[18], 64) // the kernel writes a number
		sum += n
	}
	return sum
}

func round(v float64, digits int) float64 {
	unit := math.Pow10(digits)
	return math.Round(v*unit) / unit
}
