// SPDX-License-Identifier: Apache-2.0

package dnsexchange

import (
	"time"

	"github.com/postrider/postrider/services/resolver/internal/dnsquery"
	"github.com/postrider/postrider/services/resolver/internal/dnstransport"
	"github.com/postrider/postrider/services/resolver/internal/serverhealth"
)

// observation is what an ask showed of server and transports once all its legs have ended.
func (a *ask) observation(r reply) serverhealth.Observation {
	o := serverhealth.Observation{Result: r.result}
	if l := a.legs[dnstransport.UDP]; l != nil {
		o.UDP, o.UDPResult = l.verdict(), l.word()
	}
	if l := a.legs[dnstransport.TCP]; l != nil {
		o.TCP, o.TCPResult = l.verdict(), l.word()
	}
	switch r.result {
	case dnsquery.ResultAnswered, dnsquery.ResultLoop:
		o.Server = serverhealth.Worked
	case dnsquery.ResultServFail, dnsquery.ResultBogus:
		o.Server = serverhealth.Unknown // rather the question's fault
	case dnsquery.ResultCancelled:
		if a.slow {
			o.Server, o.Result = serverhealth.Failed, dnsquery.ResultTimeout
		}
	default:
		o.Server = serverhealth.Failed
	}
	return o
}

// verdict is what a leg that has ended showed of its transport.
func (l *leg) verdict() serverhealth.Verdict {
	switch {
	case l.result.Silent():
		return serverhealth.Failed
	case l.result != dnsquery.ResultCancelled:
		return serverhealth.Worked
	case l.ended.Sub(l.began) >= l.patience():
		return serverhealth.Failed // it lost, but not by a hair
	default:
		return serverhealth.Unknown
	}
}

func (l *leg) word() dnsquery.Result {
	if l.result == dnsquery.ResultCancelled {
		return dnsquery.ResultTimeout
	}
	return l.result
}

// patience is how long a transport may take before others are tried beside it.
func (l *leg) patience() time.Duration {
	if l.transport == dnstransport.TCP {
		return l.ask.x.o.Timeouts.TCPConnect
	}
	return l.ask.x.o.Timeouts.UDPFirst
}
