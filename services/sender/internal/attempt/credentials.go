// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/sender/internal/destination"
	"github.com/postrider/postrider/services/sender/internal/sasl"
	"github.com/postrider/postrider/services/sender/internal/smtpclient"
	"github.com/postrider/postrider/services/sender/internal/verdict"
)

const (
	maxPassword = 4096        // octets of a password file
	alarmPause  = time.Minute // between two alarms about one smarthost
)

// credentials are what a smarthost is shown; nil where none are configured. The file is read each time, so that a new
// password needs no restart; a file that cannot be read defers, like a password that is refused (S-44).
func credentials(s destination.Smarthost) (*smtpclient.Auth, *smtpreply.Error) {
	if s.Username == "" {
		return nil, nil
	}
	password, err := readPassword(s.PasswordFile)
	c := sasl.Credentials{Username: s.Username, Password: password}
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return nil, &smtpreply.Error{
			Stage: smtpreply.StageLocal, Reason: smtpreply.ReasonAuth, Status: smtpreply.Code(4, 7, 0),
			Detail: "the password for the smarthost cannot be read", Err: err,
		}
	}
	return &smtpclient.Auth{Credentials: c, Insecure: s.InsecureAuth}, nil
}

// readPassword takes the line ends at the end of the file off; blanks may belong to a password.
func readPassword(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("open the password file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("read the password file: %w", err)
	}
	password := strings.TrimRight(string(data), "\r\n")
	if len(data) > maxPassword || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("read the password file: it must hold one line of at most %d octets", maxPassword)
	}
	return password, nil
}

// checkCredentials reads every password once, so that a slip shows at start.
func checkCredentials(list destination.List) error {
	var errs []error
	for i, d := range list {
		if _, fail := credentials(d.Smarthost); fail != nil {
			errs = append(errs, fmt.Errorf("sender.destinations[%d].smarthost.password_file: %w", i, fail.Err))
		}
	}
	return errors.Join(errs...)
}

// alarms tells an operator of smarthosts that do not take our credentials. It is safe for concurrent use.
type alarms struct {
	log *slog.Logger // nil: nobody is told

	mu   sync.Mutex
	last map[string]time.Time
}

// raise tells of a failure that only an operator can mend, once a minute for each smarthost.
func (a *alarms) raise(smarthost string, fail *smtpreply.Error) {
	if a.log == nil || fail == nil || !verdict.NeedsOperator(fail) {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, told := a.last[smarthost]; told && now.Sub(last) < alarmPause {
		return
	}
	if a.last == nil {
		a.last = make(map[string]time.Time)
	}
	a.last[smarthost] = now
	a.log.Error("ALARM: a smarthost does not take our credentials, its mail waits",
		slog.String("smarthost", smarthost), slog.String("mail.reason", string(fail.Reason)),
		slog.Int("smtp.reply.code", fail.Code), slog.String("detail", fail.Detail))
}
