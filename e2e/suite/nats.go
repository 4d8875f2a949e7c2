// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var listening = regexp.MustCompile(`Listening for client connections on (\S+)`)

// StartNATS starts a stand-alone nats-server whose acknowledgements mean that a message is flushed, on a port or (0) a
// free one, and returns its URL. On a suite of the all-in-one, once that has ended, it opens what the embedded server
// has stored.
func (s *Suite) StartNATS(t testing.TB, port int) string {
	t.Helper()
	if port == 0 {
		port = -1
	}
	store := filepath.Join(s.Dir, "nats")
	if embedded := filepath.Join(s.Dir, "data", "nats"); exists(filepath.Join(embedded, "jetstream")) {
		store = embedded
	}
	return s.startNATS(t, "nats-server", natsConf(port, store, s.options.NATSStore))
}

// Member is a nats-server of a cluster.
type Member struct {
	// Name is its name in the cluster and among the suite's processes.
	Name string
	// Port is where clients connect, Route where the other members do. Both stay the same over a restart.
	Port, Route int
}

// URL is where clients connect.
func (m Member) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", m.Port) }

// StartMember starts a member of a cluster, or starts it again on its store.
func (s *Suite) StartMember(t testing.TB, m Member, all []Member) {
	t.Helper()
	routes := make([]string, 0, len(all))
	for _, other := range all {
		if other != m {
			routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", other.Route))
		}
	}
	conf := natsConf(m.Port, filepath.Join(s.Dir, m.Name), s.options.NATSStore) +
		fmt.Sprintf("server_name: %s\ncluster {\n  name: postrider\n  listen: 127.0.0.1:%d\n  routes: [%s]\n}\n",
			m.Name, m.Route, strings.Join(routes, ", "))
	s.startNATS(t, m.Name, conf)
}

// natsConf is what every server has.
func natsConf(port int, store, limit string) string {
	most := ""
	if limit != "" {
		most = "  max_file_store: " + limit + "\n"
	}
	return fmt.Sprintf("listen: 127.0.0.1:%d\nmax_payload: 8MB\njetstream {\n  store_dir: '%s'\n  sync_interval: always\n%s}\n", port, store, most)
}

// startNATS runs nats-server and returns its URL.
func (s *Suite) startNATS(t testing.TB, name, conf string) string {
	t.Helper()
	file := filepath.Join(s.Dir, name+".conf")
	writeFile(t, file, conf)
	p := startProcess(t, name, s.options, nil, Program(t, "nats-server"), "-c", file)
	s.Processes[name] = p
	p.WaitLine(t, "being ready", func(line map[string]any) bool {
		return strings.Contains(field(line, textKey), "Server is ready")
	})
	found := listening.FindStringSubmatch(p.Log())
	if found == nil {
		t.Fatalf("nats-server does not say where it listens:\n%s", p.Log())
	}
	return "nats://" + found[1]
}
