# Longshore. `make help` lists what can be made.

SHELL := /bin/bash
export PATH := $(PATH):/usr/sbin:/sbin
export GOTOOLCHAIN := local
export GOFLAGS ?= -buildvcs=false

GO       := scripts/go
BIN      := bin
PROGRAMS := schedctl broadcasterd agentd hostinfod
UNITS    := $(addprefix scripts/systemd/longshore-,broadcasterd.service agentd.service hostinfod.service) internal/dockerd/longshore-dockerd@.service
LINTER   := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
.DEFAULT_GOAL := all

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.PHONY: all
all: build vet test ## build, vet and test

.PHONY: setup
setup: ## install what a bare Debian 12 lacks (as root)
	@scripts/setup

.PHONY: setup-test
setup-test: ## the same, and what the tests need
	@scripts/setup --test

.PHONY: build
build: setup ## build the programs into bin/
	@mkdir -p $(BIN)
	@CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ $(addprefix ./cmd/,$(PROGRAMS))
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(BIN)/longshore-pause ./cmd/pause
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(BIN)/hello ./examples/hello

.PHONY: demo
demo: build ## a 3-node cluster on this machine, a demo app on it, all of it gone again (KEEP=1: left up)
	@scripts/demo

.PHONY: dev
dev: build ## a 3-node cluster on this machine, until Ctrl-C
	@$(BIN)/schedctl dev

.PHONY: install
install: build ## programs to /usr/local, units to /etc/systemd/system (DESTDIR=dir: below that)
	@install -d "$(DESTDIR)/usr/local/bin" "$(DESTDIR)/usr/local/lib/longshore" "$(DESTDIR)/etc/systemd/system"
	@install $(addprefix $(BIN)/,$(PROGRAMS)) "$(DESTDIR)/usr/local/bin/"
	@install $(BIN)/longshore-pause "$(DESTDIR)/usr/local/lib/longshore/"
	@install -m 644 $(UNITS) "$(DESTDIR)/etc/systemd/system/"

.PHONY: test
test: setup-test build ## unit, conformance and architecture tests with the race detector, on real components
	@$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -vE '/test/(e2e|faults|bench|model)')

FUZZTIME ?= 60s

.PHONY: fuzz
fuzz: ## each fuzz target of rpc, side by side for 60 s (FUZZTIME=10m: longer)
	@names=$$($(GO) test -list '^Fuzz' ./rpc | grep ^Fuzz) && jobs= && \
	for name in $$names; do \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -parallel 1 ./rpc & jobs="$$jobs $$!"; \
	done; \
	for job in $$jobs; do wait $$job || failed=yes; done; [ -z "$$failed" ]

.PHONY: soak
soak: ## 200,000 calls over links that are killed and stalled all the time (SOAK=n: so many)
	@SOAK=$(or $(SOAK),200000) $(GO) test -run '^TestSoak$$' -count=1 -timeout 60m -v ./rpc

.PHONY: e2e
e2e: setup-test build ## the short end-to-end runs: whole clusters of real processes
	@$(GO) test -count=1 -timeout 15m -v ./test/e2e/...

.PHONY: model
model: ## the protocol as a model: 12 million states, and every seeded defect (MODEL_STATES=n: so many)
	@MODEL_STATES=$(or $(MODEL_STATES),12000000) GOMEMLIMIT=10GiB $(GO) test -count=1 -timeout 30m -v -run TestProtocolHolds ./test/model

.PHONY: faults
faults: setup-test build ## every kind of fault on real clusters, into docs/reliability.md (ROWS=redis,pull: these)
	@TABLE=$(CURDIR)/docs/reliability.md $(GO) test -count=1 -timeout 120m -parallel 3 -v ./test/faults/...

.PHONY: faults-short
faults-short: setup-test build ## random kills, and three kinds of faults once (FAULTS=n: so many kills)
	@ROWS=$(or $(ROWS),short) TIMES=1 $(GO) test -count=1 -timeout 25m -parallel 3 -v ./test/faults/...

.PHONY: sim
sim: ## simulate one cluster and what goes wrong in it (SEED=7 NODES=500; same seed, same run)
	@GOGC=400 $(GO) test -count=1 -timeout 0 -v -run '^TestOneSeed$$' ./test/sim -args -seed=$(or $(SEED),0) -nodes=$(or $(NODES),25) -minutes=$(or $(MINUTES),22)

.PHONY: sim-seeds
sim-seeds: ## simulate fresh seeds (SEEDS=200 NODES=25 MINUTES=4)
	@$(GO) test -count=1 -timeout 0 -v -run '^TestSeeds$$' ./test/sim -args -seeds=$(or $(SEEDS),200) -nodes=$(or $(NODES),25) -minutes=$(or $(MINUTES),4)

.PHONY: sim-long
sim-long: ## simulate fresh seeds of 50 nodes until Ctrl-C
	@$(MAKE) -s sim-seeds SEEDS=-1 NODES=$(or $(NODES),50) MINUTES=$(or $(MINUTES),22)

.PHONY: sim-same
sim-same: ## one seed eight times, with 1, 2 and 4 CPUs and the race detector: equal traces
	@$(GO) test -race -c -o $(BIN)/sim-race ./test/sim
	@$(GO) test -count=1 -timeout 0 -v -run '^TestSameTrace$$' ./test/sim -args -race-binary=$(CURDIR)/$(BIN)/sim-race -seed=$(or $(SEED),0) -nodes=$(or $(NODES),25) -minutes=$(or $(MINUTES),22)

.PHONY: bench
bench: setup-test build ## speed, as ratios against a baseline of the same run
	@$(GO) test -run '^$$' -bench 'RequestReply|FanOut' -benchtime 1x -count=1 -timeout 30m ./rpc
	@$(GO) test -run '^$$' -bench . -benchtime 1x -count=1 -timeout 30m ./test/bench/...

.PHONY: fresh
fresh: ## time from clone to the end of make demo in a debootstrap root, twice
	@scripts/fresh

.PHONY: vet
vet: ## go vet
	@$(GO) vet ./...

.PHONY: lint
lint: setup-test ## golangci-lint, shellcheck
	@$(GO) run $(LINTER) run ./...
	@shellcheck scripts/go scripts/setup scripts/demo scripts/fresh .ci/run

.PHONY: docs
docs: ## write docs/rpc.md from the method tables
	@UPDATE_DOCS=1 $(GO) test -count=1 -run TestDocs ./cmd/internal/wiring

.PHONY: fmt
fmt: ## gofumpt and gci
	@$(GO) run $(LINTER) fmt ./...

.PHONY: clean
clean: ## remove what was built
	@rm -rf $(BIN)
