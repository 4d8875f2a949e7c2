// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/e2e/suite"
	"github.com/postrider/postrider/testkit/dnstest"
)

const (
	// domains is how many destinations there are, d0.example and so on.
	domains = 4
	// nowhere is a domain that takes no mail (RFC 7505).
	nowhere = "nowhere.example"
	// roleVariable makes a process of this test binary the client or the sink.
	roleVariable = "CHAOS_ROLE"
	shortLease   = 2 * time.Second
	defaultLease = 10 * time.Second
	// drainStall is how long nothing may arrive in the end before what is missing is lost: longer than the longest wait
	// a spill can choose for these destinations.
	drainStall = 6 * time.Minute
	// quiet is how long nothing may arrive before it is counted.
	quiet = 6 * time.Second
)

// options say how much is done.
type options struct {
	seed   int
	rounds int
	rate   int  // messages a second
	few    bool // without the round with the default lease
	hasty  bool // waits less in the end
	mortal bool // the sink can be cut off (world.way)
	// settings overlay those of the suite; natsStore is suite.Options.NATSStore.
	settings  suite.Settings
	natsStore string
}

// world is one shape under load.
type world struct {
	t     testing.TB
	dir   string
	opts  options
	state state

	suite   *suite.Suite
	gateway string
	way     *suite.Wire // to the sink, when it can be cut off
	tally   *tally
	client  *exec.Cmd
	points  map[string]int // reached, by name; negative: chosen and not reached
	done    map[string]int // what was done, by name
}

// shape is how the processes are laid out, and what happens to them.
type shape interface {
	// start starts all processes.
	start(lease time.Duration)
	// round does harm once, and leaves everything running or about to be started.
	round(i int, random *rand.Rand)
	// further is the round with the default lease, if there is one.
	further(random *rand.Rand) (done bool)
	// settle makes sure that everything runs.
	settle()
	// store ends the services and returns where the streams can be read.
	store() (url string)
}

// measurer is a shape that measures something else too.
type measurer interface {
	measure(js jetstream.JetStream, r *Result)
}

// newWorld starts mail host and DNS, and prepares the suite.
func newWorld(t testing.TB, dir string, o options) *world {
	t.Helper()
	w := &world{t: t, dir: dir, opts: o, tally: newTally(), points: map[string]int{}, done: map[string]int{}}
	for _, sub := range []string{"suite", "log"} {
		w.must(os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	if err := load(w.stateFile(), &w.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	sink, err := netip.ParseAddrPort(w.startSink())
	w.must(err)
	if o.mortal {
		w.way = suite.NewWire(t, sink.String())
		sink, err = netip.ParseAddrPort(w.way.Addr())
		w.must(err)
	}
	zone := nowhere + " MX 0 .\nmx.sink.example A " + sink.Addr().String() + "\n" + senderDomain + " MX 10 mx.sink.example\n"
	for n := range domains {
		zone += fmt.Sprintf("d%d.example MX 10 mx.sink.example\n", n)
	}
	dns := dnstest.Start(t, zone)
	w.gateway = freePort(t)
	settings := suite.Settings{
		"node.http_listen":             "off",
		"gateway.listen":               w.gateway,
		"resolver.servers":             []string{dns.Addr().String()},
		"sender.smtp_port":             sink.Port(),
		"sender.retry.pauses":          []string{"1s"},
		"sender.retry.ambiguous_pause": "1s",
		"sender.connections":           40,
		// Each failure has a notification of its own here.
		"dsn.throttle.per_sender": 1 << 30, "dsn.throttle.per_domain": 1 << 30, "dsn.throttle.per_recipient": 1 << 30,
	}
	maps.Copy(settings, o.settings)
	w.suite = suite.New(t, suite.Options{
		Dir: filepath.Join(dir, "suite"), LogDir: filepath.Join(dir, "log"), Crashable: true, NATSStore: o.natsStore,
		Env:      []string{"OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none"},
		Settings: settings,
	})
	return w
}

func (w *world) stateFile() string   { return filepath.Join(w.dir, "state.json") }
func (w *world) acceptedLog() string { return filepath.Join(w.dir, "accepted.log") }
func (w *world) sinkLog() string     { return filepath.Join(w.dir, "sink.log") }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// run does the rounds that are left, waits until everything has arrived, and counts.
func (w *world) run(s shape) Result {
	w.t.Helper()
	rounds := w.opts.rounds
	w.state.Clients++
	w.must(save(w.stateFile(), w.state))
	s.start(shortLease)
	w.startClient()
	for ; w.state.Next < rounds; w.state.Next++ {
		w.must(save(w.stateFile(), w.state))
		s.round(w.state.Next, w.random(w.state.Next))
		w.progress(rounds)
	}
	w.must(save(w.stateFile(), w.state))
	if !w.state.Further && !w.opts.few {
		w.state.Further = s.further(w.random(rounds))
		w.must(save(w.stateFile(), w.state))
	}
	s.settle()
	w.stopClient()
	w.drain()
	if w.state.Further {
		rounds++
	}
	return w.count(s, rounds)
}

// random is what decides in a round.
func (w *world) random(round int) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(w.opts.seed), uint64(round)))
}

func (w *world) progress(rounds int) {
	w.must(w.tally.update(w.acceptedLog(), w.sinkLog()))
	w.t.Logf("round %d of %d: %d accepted, %d under way", w.state.Next+1, rounds, len(w.tally.accepted), len(w.tally.missing()))
}

// drain waits until everything accepted has arrived and nothing more does.
func (w *world) drain() {
	w.t.Helper()
	enough := quiet
	if w.opts.hasty {
		enough /= 3
	}
	last, since := -1, time.Now()
	for tick := time.NewTicker(200 * time.Millisecond); ; <-tick.C {
		w.must(w.tally.update(w.acceptedLog(), w.sinkLog()))
		if n := int(w.tally.offsets[w.sinkLog()]); n != last {
			last, since = n, time.Now()
		}
		missing, idle := len(w.tally.missing()), time.Since(since)
		if missing == 0 && idle > enough || idle > drainStall {
			tick.Stop()
			return
		}
	}
}

// count reads the marks and compares.
func (w *world) count(s shape, rounds int) Result {
	w.t.Helper()
	nc, err := nats.Connect(s.store())
	w.must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	w.must(err)
	marked, err := readMarks(w.t.Context(), js)
	w.must(err)
	r, doubts := w.tally.judge(marked)
	r.Rounds = rounds
	if m, ok := s.(measurer); ok {
		m.measure(js, &r)
	}
	w.t.Logf("done: %v; points: %v; %s", w.done, w.points, w.tally.rhythm)
	missing := w.tally.missing()
	for _, id := range missing[:min(len(missing), 20)] {
		doubts = append(doubts, id+" is lost")
	}
	for _, doubt := range doubts[:min(len(doubts), 40)] {
		w.t.Log(doubt)
	}
	if len(doubts) > 0 {
		w.t.Logf("what the streams have about them:\n%s", w.history(js, doubts))
	}
	return r
}

// role starts a process of this test binary. It ends with the test at the latest.
func (w *world) role(name string, env ...string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), roleVariable+"="+name), env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (w *world) startSink() (addr string) {
	w.t.Helper()
	cmd := w.role("sink", "CHAOS_LOG="+w.sinkLog())
	stdin, err := cmd.StdinPipe()
	w.must(err)
	stdout, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	w.t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("the sink ended with %v", err)
		}
	})
	addr, err = bufio.NewReader(stdout).ReadString('\n')
	w.must(err)
	return strings.TrimSpace(addr)
}

func (w *world) startClient() {
	w.t.Helper()
	w.client = w.role("client", "CHAOS_LOG="+w.acceptedLog(), "CHAOS_GATEWAY="+w.gateway,
		fmt.Sprintf("CHAOS_RATE=%d", w.opts.rate), fmt.Sprintf("CHAOS_CLIENT=%d", w.state.Clients))
	w.must(w.client.Start())
	w.t.Cleanup(func() {
		if w.client != nil {
			_ = w.client.Process.Kill() // the run was given up
			_ = w.client.Wait()
		}
	})
}

func (w *world) stopClient() {
	w.t.Helper()
	w.must(w.client.Process.Signal(syscall.SIGTERM))
	if err := w.client.Wait(); err != nil {
		w.t.Errorf("the client ended with %v", err)
	}
	w.client = nil
}

// crash kills a process, which must have lived until then.
func (w *world) crash(name string) {
	w.t.Helper()
	p := w.suite.Processes[name]
	if exited(p) {
		w.t.Fatalf("%s has ended by itself; its log is %s", name, filepath.Join(w.dir, "log", name+".log"))
	}
	p.Kill(w.t)
}

func exited(p *suite.Process) bool {
	select {
	case <-p.Exited():
		return true
	default:
		return false
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// between is a time from a range.
func between(random *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(random.Int64N(int64(to-from)))
}
