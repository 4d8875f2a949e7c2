// SPDX-License-Identifier: Apache-2.0

package retryschedule

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/kit/config"
)

// What becomes of mail to a host that greets with 5yz (S-15).
const (
	Greeting5xxDefer  = "defer"
	Greeting5xxBounce = "bounce"
)

// Config is the section sender.retry.
type Config struct {
	// Pauses are the pauses after the first, second … attempt, counted from its end; the last one repeats.
	Pauses []config.Duration `yaml:"pauses" help:"Pauses after the first, second and further attempts, counted from the end of the attempt; the last one repeats. Each is kept in a stream of its own."`
	// ExpireAfter is how long a message is tried.
	ExpireAfter config.Duration `yaml:"expire_after" help:"How long a message is tried before it fails for good (RFC 5321, section 4.5.4.1)."`
	// ExpireAfterNull is the same for mail with the null reverse-path.
	ExpireAfterNull config.Duration `yaml:"expire_after_null" help:"The same for mail with the null envelope sender, such as notifications."`
	// DelayNoticeAfter is the age at which the sender is told of a delay.
	DelayNoticeAfter config.Duration `yaml:"delay_notice_after" help:"Age of a message at which its sender is told once that it is delayed (RFC 3461, section 5.2.5)."`
	// AmbiguousPause is the least pause after a lost reply to the final dot (S-47).
	AmbiguousPause config.Duration `yaml:"ambiguous_pause" help:"Least pause after a message was sent and not answered, so that it may have been delivered (RFC 1047)."`
	// Greeting5xx is defer or bounce.
	Greeting5xx string `yaml:"greeting_5xx" help:"When every host greets with 5yz: defer until expiry, or bounce after three attempts over an hour."`
}

// Default returns the schedule of behaviour.md, section 3.
func Default() Config {
	c := Config{
		ExpireAfter:      config.Duration(5 * 24 * time.Hour),
		ExpireAfterNull:  config.Duration(2 * 24 * time.Hour),
		DelayNoticeAfter: config.Duration(4 * time.Hour),
		AmbiguousPause:   config.Duration(10 * time.Minute),
		Greeting5xx:      Greeting5xxDefer,
	}
	for _, minutes := range []int{5, 10, 20, 40, 80, 160, 240} {
		c.Pauses = append(c.Pauses, config.Duration(time.Duration(minutes)*time.Minute))
	}
	return c
}

// Validate checks the section; the keys named begin with sender.retry.
func (c *Config) Validate() error {
	var f config.Faults
	const (
		day      = 24 * time.Hour
		minPause = 100 * time.Millisecond
	)
	f.Check(len(c.Pauses) > 0, "sender.retry.pauses", "must have at least one pause")
	for i, pause := range c.Pauses {
		f.Between(fmt.Sprintf("sender.retry.pauses[%d]", i), pause, minPause, day)
	}
	f.Between("sender.retry.expire_after", c.ExpireAfter, time.Second, 30*day)
	f.Between("sender.retry.expire_after_null", c.ExpireAfterNull, time.Second, 30*day)
	f.Between("sender.retry.delay_notice_after", c.DelayNoticeAfter, 0, 30*day)
	f.Between("sender.retry.ambiguous_pause", c.AmbiguousPause, minPause, day)
	f.Check(c.Greeting5xx == Greeting5xxDefer || c.Greeting5xx == Greeting5xxBounce, "sender.retry.greeting_5xx",
		"must be defer or bounce, not %q", c.Greeting5xx)
	return f.Err()
}
