// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	deliverWithin = 4 * time.Minute
	settleTime    = 300 * time.Millisecond // for duplicates and bookkeeping after the last delivery
	pollEvery     = 5 * time.Millisecond
	rssEvery      = 100 * time.Millisecond
)

// run is one run, inside its namespaces.
type run struct {
	scenario
	way
	work, postrider   string
	group             group
	counter, progress string
	profile           string
	profileTime       time.Duration
}

// submitted is what the one who submits says at its end.
type submitted struct {
	Accepted int     `json:"accepted"`
	Failed   int     `json:"failed"`
	Failure  string  `json:"failure,omitempty"`
	Delays   []int64 `json:"delays_ns,omitempty"`
}

// measure starts the sink and the system, submits, and waits for the sink to have it all.
func (r run) measure() (row, error) {
	latency := r.name == "latency"
	if err := os.WriteFile(r.progress, nil, 0o600); err != nil {
		return row{}, err
	}
	if !latency {
		if err := r.startSink(); err != nil {
			return row{}, err
		}
	}
	target, err := r.startSystem()
	if err != nil {
		return row{}, fmt.Errorf("start %s: %w", r.system, err)
	}
	before := r.delivered()
	result := row{Scenario: r.name, Submit: r.submit, System: r.system, Messages: r.messages}
	cpu, err := r.group.cpu()
	if err != nil {
		return row{}, err
	}
	flushed := flushes()
	submitter, said, err := r.startSubmitter(target)
	if err != nil {
		return row{}, err
	}
	start := time.Now()
	profiled := r.takeProfile()
	if latency {
		err = <-submitter
	} else {
		err = r.watch(start, before, submitter, &result)
	}
	if err != nil {
		return row{}, err
	}
	if err := <-profiled; err != nil {
		return row{}, fmt.Errorf("profile: %w", err)
	}
	time.Sleep(settleTime)
	after, err := r.group.cpu()
	if err != nil {
		return row{}, err
	}
	if r.system != "ceiling" {
		result.CPU = round((after-cpu)*1000/float64(r.messages), 4)
		result.PeakRSS = round(max(result.PeakRSS, r.group.rss()), 1)
		result.Fsyncs = round((flushes()-flushed)/float64(r.messages), 4)
	}
	return r.judge(result, before, said())
}

// judge holds the sink's count against what was submitted.
func (r run) judge(result row, before int, said string) (row, error) {
	if r.program() {
		result.Complete = r.delivered()-before == r.messages
		return result, nil
	}
	var s submitted
	if err := json.Unmarshal([]byte(said), &s); err != nil {
		return row{}, fmt.Errorf("what the submitter said: %w", err)
	}
	if s.Failed > 0 {
		return row{}, fmt.Errorf("%d of %d not accepted: %s", s.Failed, r.messages, s.Failure)
	}
	if r.name == "latency" {
		result.Complete = len(s.Delays) == r.messages
		result.P50, result.P99 = quantile(s.Delays, 0.5), quantile(s.Delays, 0.99)
		return result, nil
	}
	result.Complete = s.Accepted == r.messages && r.delivered()-before == r.messages
	return result, nil
}

// watch polls the sink's count until it is all there, and keeps the peaks.
func (r run) watch(start time.Time, before int, submitter <-chan error, result *row) error {
	var measured time.Time
	for {
		delivered, now := r.delivered()-before, time.Now()
		if delivered >= r.messages {
			result.PerSecond = round(float64(r.messages)/now.Sub(start).Seconds(), 1)
			if submitter == nil {
				return nil
			}
			return <-submitter
		}
		if now.Sub(start) > deliverWithin {
			return fmt.Errorf("%d of %d delivered in %s", delivered, r.messages, deliverWithin)
		}
		if r.system != "ceiling" && now.Sub(measured) > rssEvery {
			measured = now
			result.PeakRSS = max(result.PeakRSS, r.group.rss())
			result.PeakQueue = max(result.PeakQueue, r.accepted()-delivered)
		}
		select {
		case err := <-submitter:
			if err != nil {
				return fmt.Errorf("submitter: %w", err)
			}
			submitter = nil
		case <-time.After(pollEvery):
		}
	}
}

// program reports whether smtp-source submits, and not this program.
func (r run) program() bool { return r.submit == "smtp" && r.name != "many-domains" }

// startSubmitter starts who submits, as a process of its own. The function returns what it printed once it has ended.
func (r run) startSubmitter(target string) (<-chan error, func() string, error) {
	var args []string
	if r.program() {
		args = []string{
			r.tool("smtp-source"), "-d", "-s", strconv.Itoa(callers), "-m", strconv.Itoa(r.messages), "-l", strconv.Itoa(r.size),
			"-f", "from@sender.bench.test", "-t", r.to(0), target,
		}
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		args = []string{
			self, "submit", "-scenario", r.name, "-system", r.system, "-submit", r.submit, "-to", target, "-progress", r.progress,
		}
	}
	var out strings.Builder
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, os.Stderr, r.toolEnv()
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return done, out.String, nil
}

// startSink starts smtp-sink; its counter goes to a file. It takes more sessions than a sender opens to 200 hosts.
func (r run) startSink() error {
	counter, err := os.Create(r.counter)
	if err != nil {
		return err
	}
	defer counter.Close()
	cmd := exec.Command(r.tool("smtp-sink"), "-u", "nobody", "-m", "10000", "-c", "-h", "sink.bench.test", r.sink, "1000")
	cmd.Stdout, cmd.Stderr, cmd.Env = counter, os.Stderr, r.toolEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	return waitPort(strings.Replace(r.sink, "0.0.0.0", "127.0.1.1", 1))
}

// delivered is smtp-sink's own count, the last "mesg=" it has written.
func (r run) delivered() int { return lastNumber(r.counter, "mesg=") }

// accepted is how many messages the submitter has an OK for, as far as it has said.
func (r run) accepted() int { return lastNumber(r.progress, "accepted=") }

// lastNumber reads the number behind the last whole key in a file that only grows.
func lastNumber(file, key string) int {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	tail := make([]byte, 256)
	n, _ := f.ReadAt(tail, max(0, info.Size()-int64(len(tail)))) // shorter than the tail: what is there counts
	text := string(tail[:n])
	if end := strings.LastIndexByte(text, '\r'); end >= 0 {
		text = text[:end] // what follows is not whole yet
	}
	_, number, found := cutLast(text, key)
	if !found {
		return 0
	}
	number, _, _ = strings.Cut(number, " ")
	v, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		return 0
	}
	return v
}

func cutLast(text, key string) (before, after string, found bool) {
	i := strings.LastIndex(text, key)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(key):], true
}

// startSystem starts the system under test and returns where to submit.
func (r run) startSystem() (string, error) {
	switch r.system {
	case "ceiling":
		target := strings.Replace(r.sink, "0.0.0.0", "127.0.1.1", 1)
		return target, nil
	case "postfix":
		return r.startPostfix()
	case "postrider":
		return r.startPostrider()
	}
	return "", errors.New("no such system")
}

// fresh is an empty folder for the system's queue, on the disk that is measured.
func (r run) fresh(name string) (string, error) {
	dir := filepath.Join(r.work, "queue", name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}
