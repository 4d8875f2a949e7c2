// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"log/slog"
	"sync"
	"time"

	"github.com/postrider/postrider/kit/smtpreply"
	"github.com/postrider/postrider/services/sender/internal/mxfailover"
)

const (
	refusedLong  = 15 * time.Minute // for that long a site refuses every session before somebody is told (S-15)
	refusedAgain = time.Hour        // between two alarms about one site
	mostRefusals = 10_000           // sites remembered
)

// refusals watches sites whose hosts refuse every session, or are ourselves. It is safe for concurrent use.
type refusals struct {
	log *slog.Logger // nil: nobody is told

	mu    sync.Mutex
	sites map[string]*refusal
}

// refusal is a site that refuses.
type refusal struct{ since, told time.Time }

// note takes what an attempt came to.
func (r *refusals) note(site string, results []mxfailover.Recipient) {
	if r.log == nil || site == "" || len(results) == 0 {
		return
	}
	one := results[0]
	switch {
	case one.Failure != nil && one.Failure.Reason == smtpreply.ReasonSelfSession:
		r.raise(site, one.Failure, 0, "ALARM: a mail host answers with our own name, its mail waits")
	case one.AllRefused:
		r.raise(site, one.Failure, refusedLong, "ALARM: a site refuses every session, its mail waits")
	case one.Failure == nil || one.Failure.Code != 0: // it talks to us
		r.mu.Lock()
		delete(r.sites, site)
		r.mu.Unlock()
	}
}

// raise tells of a site that has refused for long enough, once an hour.
func (r *refusals) raise(site string, fail *smtpreply.Error, after time.Duration, alarm string) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sites[site]
	if s == nil {
		s = r.begin(site, now)
	}
	if now.Sub(s.since) < after || !s.told.IsZero() && now.Sub(s.told) < refusedAgain {
		return
	}
	s.told = now
	r.log.Error(alarm, slog.String("mail.site", site), slog.String("mail.reason", string(fail.Word())),
		slog.Int("smtp.reply.code", fail.Code), slog.Float64("for_seconds", now.Sub(s.since).Seconds()))
}

// begin remembers a site, in place of any other when there are too many; r.mu is held.
func (r *refusals) begin(site string, now time.Time) *refusal {
	if r.sites == nil {
		r.sites = make(map[string]*refusal)
	}
	for other := range r.sites {
		if len(r.sites) < mostRefusals {
			break
		}
		delete(r.sites, other)
	}
	s := &refusal{since: now}
	r.sites[site] = s
	return s
}
