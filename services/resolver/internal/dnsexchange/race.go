// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"context"
	"net/netip"
	"sync"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
)

// race asks the servers for one question, the next one when the one before failed or is slow. The first good
// answer wins.
type race struct {
	x       *Exchange
	q       dnsquery.Question
	cancel  context.CancelFunc
	events  chan event
	running sync.WaitGroup

	left   []netip.AddrPort // not asked yet
	active int              // asked, not done
	failed []dnsquery.ServerFailure
}

// event is what an ask tells its race: once at most that it is slow, and once that it is done.
type event struct {
	server netip.AddrPort
	slow   bool
	done   reply
}

// run returns an answer, or a failure, or neither when ctx ended before all servers failed.
func (r *race) run(ctx context.Context) (*dnsquery.Answer, *dnsquery.Failure) {
	order := r.x.o.Health.Order()
	why := whyFirst(r.x.o.Servers, order)
	for _, addr := range order {
		result, remembered := r.x.failures.get(addr, r.q)
		if !remembered {
			r.left = append(r.left, addr)
			continue
		}
		if len(r.left) == 0 {
			why = addr.String() + " failed this question a moment ago: " + string(result)
		}
		r.failed = append(r.failed, dnsquery.ServerFailure{Server: addr, Result: result, Remembered: true})
		if final(result) {
			return nil, r.failure()
		}
	}
	r.next(ctx, why)
	for r.active > 0 {
		ev := <-r.events
		if ev.slow {
			r.next(ctx, ev.server.String()+" has not answered yet")
			continue
		}
		r.active--
		if answer, failure := r.take(ev); answer != nil || failure != nil {
			r.cancel()
			return answer, failure
		}
		if ctx.Err() == nil {
			r.next(ctx, ev.server.String()+": "+string(ev.done.result))
		}
	}
	return nil, r.failure()
}

// whyFirst says why the first server of order is asked first, in place of the first one configured.
func whyFirst(configured, order []netip.AddrPort) string {
	if order[0] != configured[0] {
		return configured[0].String() + " is skipped after failures"
	}
	return "first server"
}

// take judges what a server came to in the end. Both results are nil when another server may still answer.
func (r *race) take(ev event) (*dnsquery.Answer, *dnsquery.Failure) {
	result := ev.done.result
	if result == dnsquery.ResultAnswered {
		return ev.done.message.Answer, nil
	}
	if result == dnsquery.ResultCancelled {
		result = dnsquery.ResultTimeout // the whole lookup ran out of time
	} else {
		r.x.failures.add(ev.server, r.q, result)
	}
	r.failed = append(r.failed, dnsquery.ServerFailure{Server: ev.server, Result: result})
	if final(result) {
		return nil, r.failure()
	}
	return nil, nil
}

// final reports a result no other server may overrule: what fails validation here must not be believed because the next
// server does not validate.
func final(result dnsquery.Result) bool {
	return result == dnsquery.ResultBogus || result == dnsquery.ResultLoop
}

// next asks the next server, if there is one.
func (r *race) next(ctx context.Context, why string) {
	if len(r.left) == 0 {
		return
	}
	addr := r.left[0]
	r.left = r.left[1:]
	r.active++
	a := newAsk(r.x, r.x.servers[addr], r.q, why)
	if t := r.x.o.Health.First(addr, a.preferred); t != a.preferred {
		a.why += "; by " + string(t) + ", since " + string(a.preferred) + " is skipped after failures"
		a.preferred = t
	}
	a.slowly = func() { r.events <- event{server: addr, slow: true} }
	r.running.Go(func() { r.events <- event{server: addr, done: a.run(ctx)} })
}

func (r *race) failure() *dnsquery.Failure {
	f := &dnsquery.Failure{Question: r.q, Servers: r.failed}
	blocked := 0
	for _, s := range r.failed {
		switch s.Result {
		case dnsquery.ResultBogus:
			f.Kind = dnsquery.Bogus
			return f
		case dnsquery.ResultLoop:
			f.Kind = dnsquery.Loop
			return f
		case dnsquery.ResultTCPBlocked:
			blocked++
		default:
		}
	}
	if blocked > 0 && blocked == len(r.failed) {
		f.Kind = dnsquery.TCPBlocked
	}
	return f
}
