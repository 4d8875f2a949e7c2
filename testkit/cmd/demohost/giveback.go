// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/postrider/postrider/testkit/smtptest"
)

// returnLimit bounds one hand-over.
const returnLimit = 30 * time.Second

// giveBack hands a message to another server, with a Received field of its own in front, and returns that server's last
// reply, which becomes this host's.
func giveBack(log *slog.Logger, name, next string, m *smtptest.Message) string {
	err := handOver(name, next, m)
	answer := "250 2.0.0 handed on"
	if refused, ok := errors.AsType[*textproto.Error](err); ok {
		answer = fmt.Sprintf("%d %s", refused.Code, strings.ReplaceAll(refused.Msg, "\n", " "))
	} else if err != nil {
		answer = "451 4.4.1 the next server cannot be reached"
	}
	tell(log, "returned", m, slog.String("answer", answer))
	return answer
}

func handOver(name, next string, m *smtptest.Message) error {
	conn, err := net.DialTimeout("tcp", next, returnLimit)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(returnLimit)); err != nil {
		return err
	}
	client, err := smtp.NewClient(conn, name)
	if err != nil {
		return err
	}
	if err := client.Hello(name); err != nil {
		return err
	}
	if err := client.Mail(m.From); err != nil {
		return err
	}
	for _, to := range m.To() {
		if err := client.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	received := fmt.Sprintf("Received: by %s; %s\r\n", name, time.Now().Format(time.RFC1123Z))
	if _, err := w.Write(append([]byte(received), m.Data...)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return client.Quit()
}
