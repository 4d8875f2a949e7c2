// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runWithin bounds one run with its preparation.
const runWithin = 6 * time.Minute

// once does one run in namespaces of its own.
func (b bench) once(ctx context.Context, s scenario, w way) (row, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return row{}, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, self, "run", "-scenario", s.name, "-system", w.system, "-submit", w.submit,
		"-work", b.work, "-postrider", b.postrider, "-profile", b.profile, "-profile-time", b.profileTime.String())
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		return row{}, err
	}
	var r row
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return row{}, fmt.Errorf("what the run printed: %w", err)
	}
	return r, nil
}

// runInside is the first process of the namespaces: when it ends, all that it started ends.
func runInside(args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	name, system := flags.String("scenario", "", "scenario"), flags.String("system", "", "system")
	submit := flags.String("submit", "", "way to submit")
	work, postrider := flags.String("work", "", "work folder"), flags.String("postrider", "", "the all-in-one")
	profile := flags.String("profile", "", "file for a CPU profile")
	profileTime := flags.Duration("profile-time", 0, "length of the profile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("run belongs inside namespaces; start the benchmark without it")
	}
	if err := enter(); err != nil {
		return err
	}
	i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == *name })
	if i < 0 {
		return fmt.Errorf("no scenario %q", *name)
	}
	group, err := newGroup("postrider-bench")
	if err != nil {
		return err
	}
	run := run{
		scenario: scenarios()[i], way: way{*system, *submit}, work: *work, postrider: *postrider, group: group,
		counter: filepath.Join("/dev/shm", "postrider-bench.sink"), progress: filepath.Join("/dev/shm", "postrider-bench.submitted"),
		profile: *profile, profileTime: *profileTime,
	}
	r, err := run.measure()
	if err != nil {
		return err
	}
	fmt.Println(r.line())
	return nil
}

// enter makes the namespaces usable: own /proc, loopback up, as many files as allowed, and the DNS server.
func enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	files.Cur = files.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	return serveDNS()
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}
