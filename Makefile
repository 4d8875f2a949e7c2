# SPDX-License-Identifier: Apache-2.0
#
# The commands of the house. `make` alone lists them. Everything a target needs beyond Go, git, make and gcc is
# built from pinned Go modules under tools/ into bin/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

export GOTOOLCHAIN := local

ROOT    := $(CURDIR)
BIN     := $(ROOT)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/postrider/postrider/kit/runner.version=$(VERSION)

# Modules in import order: arrows only to the left (design: proto, kit, services, cmd, e2e).
MODULES  := proto testkit kit services/resolver services/sender services/dsn services/gateway cmd/postrider e2e
SERVICES := gateway resolver sender dsn

# make e2e SCENARIO=silent-banner runs one scenario.
SCENARIO ?=
# make fuzz FUZZTIME=10m runs each fuzz target that long.
FUZZTIME ?= 20s
# make kill-rounds ROUNDS=50 SEED=1 kills the all-in-one that often; make chaos ROUNDS=20 SEED=1 does harm that often.
kill-rounds: ROUNDS ?= 50
chaos: ROUNDS ?= 20
SEED ?= 1
# make chaos SHAPE=all-in-one (or two-senders) runs one shape with all rounds; RATE is messages a second.
SHAPE ?=
RATE  ?= 500
# make bench SCENARIOS=one-domain,latency OUT=rows.json runs some scenarios and writes one JSON object a row.
SCENARIOS ?=
OUT       ?=
FIGURE    ?=
bench: RUNS ?= 3

# make load CASE=dead-domain measures one thing under load (e2e/load).
CASE ?=

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(BIN)/postrider ## deliver a real message past a silent and a dead mail host, and show how
	$(BIN)/postrider demo

.PHONY: run
run: $(BIN)/postrider ## run all four services in one process with an embedded queue, data in .data
	mkdir -p .data
	$(BIN)/postrider serve --config deploy/config/postrider.yaml

.PHONY: test
test: ## run the tests of all modules
	go test -timeout 10m work

.PHONY: race
race: ## run the tests of all modules under the race detector
	go test -race -timeout 15m work

.PHONY: build
build: $(BIN)/postrider $(SERVICES:%=$(BIN)/%) ## build all programs into bin/

# The go command knows better than make what is out of date.
.PHONY: $(BIN)/postrider $(SERVICES:%=$(BIN)/%)
$(BIN)/postrider:
	go build -ldflags '$(LDFLAGS)' -o $@ ./cmd/postrider
$(SERVICES:%=$(BIN)/%): $(BIN)/%:
	go build -ldflags '$(LDFLAGS)' -o $@ ./services/$*/cmd/$*

.PHONY: check
check: generate-clean lint vet standalone race ## all that a change must pass: generated code, lint, vet, builds per module, race tests

.PHONY: generate
generate: $(BIN)/buf ## make generated files anew: Go from proto, docs/config.md from the structs
	$(BIN)/buf generate
	go run ./cmd/postrider config print --markdown > docs/config.md

.PHONY: generate-clean
generate-clean: generate ## fail when a generated file or go.work is not what the sources say
	go work sync
	@dirty="$$(git status --porcelain -- proto docs/config.md go.work '*/go.mod' '*/go.sum')"; \
	if [ -n "$$dirty" ]; then echo "generated files differ from their sources:"; echo "$$dirty"; git --no-pager diff --stat; exit 1; fi

.PHONY: lint
lint: $(BIN)/buf $(BIN)/golangci-lint ## buf lint and format, golangci-lint
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code
	$(BIN)/golangci-lint run $(MODULES:%=./%/...)

.PHONY: vet
vet: ## go vet
	go vet work

.PHONY: standalone
standalone: ## build every module alone, without go.work
	@for m in $(MODULES); do echo "GOWORK=off go build ./$$m/..."; (cd $$m && GOWORK=off go build ./...); done

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	tools/fuzz.sh $(FUZZTIME)

.PHONY: e2e
e2e: build $(BIN)/nats-server $(BIN)/grpcurl ## run the end-to-end scenarios, or one: make e2e SCENARIO=silent-banner
	POSTRIDER_BIN=$(BIN) go test -count=1 -timeout 20m -v ./e2e/scenario/$(if $(SCENARIO),$(or $(notdir $(wildcard e2e/scenario/*-$(SCENARIO))),$(error no scenario $(SCENARIO) in e2e/scenario)),...)

.PHONY: e2e-debian
e2e-debian: build $(BIN)/nats-server ## run the scenarios against servers of Debian's, fetched by apt-get into bin/: DNSSEC with unbound and nsd, loops with Postfix and Exim (needs root), mail by swaks and smtp-source, reports read by python3 and ripmime
	POSTRIDER_BIN=$(BIN) go test -tags debian -count=1 -timeout 10m -v ./e2e/scenario/12-dnssec/ ./e2e/scenario/04-receipts-that-loop/ ./e2e/scenario/19-debian-clients/

# Containers: what a registry would give is built here when none is reached (make stand-ins).
COMPOSE      ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo $(BIN)/docker-compose)
COMPOSE_FILE := deploy/compose.yaml
JAEGER_MODULE  := github.com/jaegertracing/jaeger@v1.76.0
COMPOSE_MODULE := github.com/docker/compose/v2@v2.40.3
MODCACHE        = $(shell go env GOMODCACHE)
export VERSION

.PHONY: up
up: ## start Postrider as containers: gateway, resolver, two senders, dsn, NATS, Jaeger
	deploy/secrets.sh
	$(COMPOSE) -f $(COMPOSE_FILE) --profile client build
	$(COMPOSE) -f $(COMPOSE_FILE) up --detach --no-build --wait --wait-timeout 120

.PHONY: up-demo
up-demo: export POSTRIDER_CONFIG := demo
up-demo: ## the same with the demo's own DNS server and misbehaving mail hosts; no mail leaves the machine
	deploy/secrets.sh
	$(COMPOSE) -f $(COMPOSE_FILE) --profile client --profile demo build
	$(COMPOSE) -f $(COMPOSE_FILE) --profile demo up --detach --no-build --wait --wait-timeout 120

.PHONY: down
down: ## stop the containers; queued mail stays in its volume
	$(COMPOSE) -f $(COMPOSE_FILE) --profile client --profile demo down

.PHONY: container-programs
container-programs: ## build static programs into bin/container, for images with BINARIES=copied
	mkdir -p $(BIN)/container/data
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/container/ ./cmd/postrider $(foreach p,$(SERVICES),./services/$(p)/cmd/$(p)) ./testkit/cmd/demohost
	cp $${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} $(BIN)/container/ca-certificates.crt

.PHONY: stand-ins
stand-ins: $(BIN)/docker-compose $(BIN)/standin/jaeger $(BIN)/standin/nats-server $(BIN)/standin/busybox ## make images under localhost/ for those that cannot be pulled: Go, NATS, Jaeger
	tools/containers/engine.sh tools/containers/standins.sh $(BIN)/standin

.PHONY: e2e-containers
e2e-containers: export COMPOSE := $(BIN)/docker-compose
e2e-containers: $(BIN)/docker-compose $(BIN)/standin/jaeger $(BIN)/standin/nats-server $(BIN)/standin/busybox ## the containers end to end, with a Docker engine of Debian's where none runs
	timeout --kill-after=60 590 tools/containers/engine.sh tools/containers/e2e.sh

.PHONY: e2e-interop
e2e-interop: $(BIN)/postrider ## deliver to Debian's Postfix, Exim, OpenSMTPD and smtp-sink, fetched by apt-get into bin/; as root
	POSTRIDER_BIN=$(BIN) go test -tags debian -count=1 -timeout 4m -v ./e2e/scenario/17-interop/

.PHONY: kill-rounds
kill-rounds: $(BIN)/postrider ## kill -9 the all-in-one ROUNDS (50) times between accept and delivery; nothing may be lost
	POSTRIDER_BIN=$(BIN) KILL_ROUNDS=$(ROUNDS) KILL_SEED=$(SEED) go test -count=1 -timeout 15m -v -run TestKillRounds ./e2e/killrounds/

.PHONY: chaos
chaos: $(BIN)/nats-server chaos-build ## kill, stop and cut off processes under load ROUNDS (20) times; the last line says what became of the mail
	@status=0; $(CHAOS) CHAOS_STATE=$(ROOT)/.data/chaos CHAOS_ROUNDS=$(ROUNDS) CHAOS_SEED=$(SEED) CHAOS_SHAPE=$(SHAPE) \
	  CHAOS_RATE=$(RATE) go test -count=1 -timeout 3h -v -run TestChaos ./e2e/chaos/ || status=$$?; \
	cat .data/chaos/$(if $(SHAPE),$(SHAPE)-)seed-$(SEED)/result.json; exit $$status

CHAOS := POSTRIDER_BIN=$(BIN)

.PHONY: chaos-build
chaos-build:
	@mkdir -p $(BIN)/chaos .data/chaos
	@for p in $(SERVICES); do go build -tags chaos -o $(BIN)/chaos/$$p ./services/$$p/cmd/$$p; done
	@go build -tags chaos -o $(BIN)/chaos/postrider ./cmd/postrider

# Further shapes, each bounded in time: how many rounds each has, at how many messages a second.
.PHONY: chaos-cluster chaos-nats chaos-suspended chaos-purge chaos-takeover chaos-keys chaos-full
chaos-cluster: ## three nats-servers; the leader is killed under load five times
	@$(MAKE) --no-print-directory chaos SHAPE=cluster ROUNDS=5 RATE=100
chaos-nats: ## a stand-alone nats-server is killed and comes back under load five times
	@$(MAKE) --no-print-directory chaos SHAPE=nats-away ROUNDS=5 RATE=200
chaos-suspended: ## a sender is stopped beyond its lease and goes on, six times
	@$(MAKE) --no-print-directory chaos SHAPE=suspended ROUNDS=6 RATE=200
chaos-purge: ## the all-in-one lives until it removes settled mail, and ends in the middle of it, twice
	@$(MAKE) --no-print-directory chaos SHAPE=purge ROUNDS=2 RATE=100

chaos-takeover: ## a sender is killed four times; how long until the other has its partitions
	@$(MAKE) --no-print-directory chaos SHAPE=takeover ROUNDS=4 RATE=500
chaos-keys: $(BIN)/nats-server chaos-build ## 200 calls under each of three keys over two gateways, with kills and changed content
	@status=0; $(CHAOS) CHAOS_STATE=$(ROOT)/.data/chaos CHAOS_SEED=$(SEED) KEYS_CALLS=200 KEYS_SECONDS=150 \
	  go test -count=1 -timeout 10m -v -run TestG12_OneKeyOverTwoGateways ./e2e/chaos/ || status=$$?; \
	cat .data/chaos/keys/result.json; exit $$status
chaos-full: $(BIN)/nats-server chaos-build ## a store of 20 MiB, all hosts dead, dsn stopped, ten times more mail than fits; then all back
	@status=0; $(CHAOS) CHAOS_STATE=$(ROOT)/.data/chaos CHAOS_SEED=$(SEED) FULL_DEAD_SECONDS=100 \
	  go test -count=1 -timeout 15m -v -run TestG13_FullStore ./e2e/chaos/ || status=$$?; \
	cat .data/chaos/full/result.json; exit $$status

.PHONY: bench
bench: $(BIN)/postrider ## measure the suite beside Postfix and the raw ceiling; as root. SCENARIOS=one-domain,latency RUNS=3 OUT=rows.json FIGURE=figure.svg
	go build -o $(BIN)/e2e-bench ./e2e/bench
	$(BIN)/e2e-bench -postrider $(BIN)/postrider -work $(BIN)/bench -scenarios '$(SCENARIOS)' -runs $(RUNS) -out '$(OUT)' -figure '$(FIGURE)'

.PHONY: microbench
microbench: ## run the Go benchmarks of all modules once, allocations included
	go test -run '^$$' -bench . -benchmem -benchtime 1s work

.PHONY: bench-ceiling
bench-ceiling: ## measure the SMTP client against Postfix's smtp-sink, beside its smtp-source; both fetched by apt-get into bin/
	tools/postfix.sh $(BIN)/postfix
	POSTFIX_BIN=$(BIN)/postfix/bin go test -tags debian -count=1 -timeout 5m -v -run TestCeiling ./services/sender/internal/smtpclient/

.PHONY: bench-stuck
bench-stuck: ## measure what 200 hosts that accept 20 MB and never read cost another site, in messages a second and memory
	go test -tags load -count=1 -timeout 5m -v -run TestStuckHosts ./services/sender/internal/mxfailover/

.PHONY: grpcurl
grpcurl: $(BIN)/grpcurl ## build grpcurl into bin/

.PHONY: load
load: $(BIN)/postrider $(BIN)/sender $(BIN)/nats-server ## measure fairness, a million retries and idle partitions, or one: make load CASE=dead-domain
	POSTRIDER_BIN=$(BIN) go test -tags load -count=1 -timeout 60m -v -run 'TestLoad$(if $(CASE),/^$(CASE)$$)' ./e2e/load/

.PHONY: clean
clean: ## remove bin/ and .data/
	rm -rf bin .data

$(BIN)/buf: tools/buf/go.mod
	GOBIN=$(BIN) GOWORK=off go -C tools/buf install tool
	touch $@
$(BIN)/golangci-lint: tools/lint/go.mod
	GOBIN=$(BIN) GOWORK=off go -C tools/lint install tool
	touch $@
$(BIN)/nats-server: tools/natsserver/go.mod
	GOBIN=$(BIN) GOWORK=off go -C tools/natsserver install tool
	touch $@
$(BIN)/grpcurl: tools/grpcurl/go.mod
	GOBIN=$(BIN) GOWORK=off go -C tools/grpcurl install tool
	touch $@
# Neither installs with `go install`, as their go.mod files hold replace directives; their own go.sum pins what they need.
$(BIN)/docker-compose:
	go mod download $(COMPOSE_MODULE)
	CGO_ENABLED=0 GOWORK=off go build -C $(MODCACHE)/$(COMPOSE_MODULE) -trimpath -ldflags='-s -w -X github.com/docker/compose/v2/internal.Version=v2.40.3' -o $@ ./cmd
$(BIN)/standin/jaeger:
	go mod download $(JAEGER_MODULE)
	CGO_ENABLED=0 GOWORK=off go build -C $(MODCACHE)/$(JAEGER_MODULE) -trimpath -ldflags='-s -w' -o $@ ./cmd/jaeger
$(BIN)/standin/nats-server: tools/natsserver/go.mod
	CGO_ENABLED=0 GOBIN=$(BIN)/standin GOWORK=off go -C tools/natsserver install tool
	touch $@
$(BIN)/standin/busybox: tools/containers/unpack.sh
	tools/containers/unpack.sh $(BIN)/debian
	mkdir -p $(@D)
	cp $(BIN)/debian/root/bin/busybox $@
