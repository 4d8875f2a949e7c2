// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed postfix/start.sh
var startScript string

//go:embed postfix/main.cf
var mainCF []byte

const postfixAddress = "127.0.0.1:2500"

func (r run) startPostfix() (string, error) {
	queue, err := r.fresh("postfix")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(r.work, "main.cf"), mainCF, 0o644); err != nil {
		return "", err
	}
	out, err := exec.Command("bash", "-c", startScript, "start.sh", r.work, queue, r.group.dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return postfixAddress, waitPort(postfixAddress)
}
