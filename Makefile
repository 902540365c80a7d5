# make help lists the targets. REQUIRE_ALL=1 turns whatever a run would leave out into a failure.

SHELL       := bash
GO          ?= go
PKG         ?= ./...
FUZZTIME    ?= 300000x
CHECKS      ?= 40000
SIGNATURES  ?= 1000000
TESTFLAGS   ?=
SEEDS       ?= 2000
MINUTES     ?= 5
DB          ?= both
SHARE       ?= 1
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The linter is built from source at this version, so that every machine judges by the same rules.
LINT_VERSION  := 2.15.0
GOLANGCI_LINT ?= bin/golangci-lint

HAVE_ALERTMANAGER := command -v prometheus-alertmanager >/dev/null && test -f /usr/share/prometheus/alertmanager/default.tmpl
HAVE_PROMTOOL     := command -v promtool >/dev/null
HAVE_REDIS        := command -v redis-server >/dev/null
HAVE_STRACE       := command -v strace >/dev/null
HAVE_POSTGRESQL   := ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1
# Compiling a file that includes a header, because gcc without libc's headers is found and then fails.
HAVE_CC           := printf '\#include <stdlib.h>\nint main(void){return 0;}\n' | $$($(GO) env CC) -x c -o /dev/null - 2>/dev/null

.DEFAULT_GOAL := build
.PHONY: build test setup vet lint fmt tidy-check linter demo fuzz signatures simulate torture figures properties mutants clean help

build: ## build bin/remediator, static and stripped
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/remediator ./cmd/remediator

# What is too slow for the race detector is played once more without it.
UNRACED := ^TestHostileTextThroughEveryRule$$

# checkptr is off: it judges the translated C of SQLite, not our code, and takes a third of the time.
test: setup vet ## set up what the tests need, vet, and run them with the race detector (PKG=, TESTFLAGS=)
	@if $(HAVE_CC); then \
	  set -ex; CGO_ENABLED=1 $(GO) test -race -gcflags=all=-d=checkptr=0 -shuffle=on -timeout 40m $(TESTFLAGS) $(PKG); \
	  $(if $(filter ./... ./cmd/remediator,$(PKG)),CGO_ENABLED=0 $(GO) test -count=1 -timeout 20m -run '$(UNRACED)' ./cmd/remediator;) \
	else \
	  set -x; CGO_ENABLED=0 $(GO) test -shuffle=on -timeout 40m $(TESTFLAGS) $(PKG); \
	fi

setup: ## install the Debian packages the tests need (as root), or say what is left out
	@missing=(); \
	$(HAVE_ALERTMANAGER) || missing+=(prometheus-alertmanager); \
	$(HAVE_PROMTOOL) || missing+=(prometheus); \
	$(HAVE_POSTGRESQL) || missing+=(postgresql); \
	$(HAVE_REDIS) || missing+=(redis-server); \
	$(HAVE_STRACE) || missing+=(strace); \
	{ $(HAVE_CC); } || missing+=(gcc libc6-dev); \
	if (( $${#missing[@]} )) && (( EUID == 0 )) && command -v apt-get >/dev/null; then \
	  echo "setup: installing $${missing[*]}"; \
	  apt-get update -qq || true; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" || true; \
	fi; \
	left=(); \
	{ $(HAVE_ALERTMANAGER); } || left+=("the tests against a real Alertmanager (Debian package prometheus-alertmanager)"); \
	$(HAVE_PROMTOOL) || left+=("promtool's judgement of metrics and alerts (Debian package prometheus)"); \
	$(HAVE_STRACE) || left+=("the torture by failing fsyncs (Debian package strace)"); \
	$(HAVE_POSTGRESQL) || left+=("the tests against a real PostgreSQL (Debian package postgresql)"); \
	$(HAVE_REDIS) || left+=("the tests against a real Redis (Debian package redis-server)"); \
	{ $(HAVE_CC); } || left+=("the race detector (Debian packages gcc and libc6-dev)"); \
	for what in "$${left[@]}"; do echo "setup: left out: $$what"; done; \
	if (( $${#left[@]} )) && [[ -n "$${REQUIRE_ALL:-}" ]]; then echo "setup: REQUIRE_ALL is set, so this is a failure" >&2; exit 1; fi

vet: ## go vet, the crash marks included
	$(GO) vet $(PKG)
	$(GO) vet -tags failpoints ./internal/failpoint

lint: fmt vet tidy-check linter ## formatting, go vet, the module files, golangci-lint
	$(GOLANGCI_LINT) run ./...

fmt: ## fail on files that gofmt would change
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [[ -n "$$unformatted" ]]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

tidy-check: ## fail when go.mod or go.sum are not tidy, or a module is not what go.sum says
	$(GO) mod verify
	$(GO) mod tidy -diff

linter:
	@has() { [[ "$$($(GOLANGCI_LINT) version --short 2>/dev/null)" == "$(LINT_VERSION)" ]]; }; \
	if has; then exit 0; fi; \
	if [[ "$(GOLANGCI_LINT)" != bin/golangci-lint ]]; then echo "lint: $(GOLANGCI_LINT) is not version $(LINT_VERSION)" >&2; exit 1; fi; \
	echo "lint: installing golangci-lint $(LINT_VERSION) into bin"; \
	GOBIN="$(CURDIR)/bin" $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$(LINT_VERSION)

demo: ## play the story on the terminal
	$(GO) run ./cmd/remediator demo

# Only our own packages are instrumented: with the counters of all that they import to clear and compare, an execution took ten times as long.
# By executions, because Go now and then reports the end of a time in the middle of one as a failure.
fuzz: ## run every fuzz target FUZZTIME (300000x executions, or a time such as 30s) and count (FUZZ=, a pattern of names; FUZZFLAGS=-test.…)
	@set -o pipefail; pattern='$(or $(FUZZ),.)'; module=$$($(GO) list -m); cache=$$($(GO) env GOCACHE)/fuzz; \
	tests=$$(mktemp -d); trap 'rm -rf "$$tests"' EXIT; \
	grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file func; do \
	  name=$${func#func }; dir=$$(dirname "$$file"); test=$$tests/$${dir//\//-}; \
	  [[ "$$name" =~ $$pattern ]] || continue; \
	  echo "fuzz: $$name in $$dir"; \
	  [[ -x "$$test" ]] || $(GO) test -c -gcflags="$$module/...=-d=libfuzzer" -o "$$test" "$$dir" || exit 1; \
	  (cd "$$dir" && "$$test" -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime $(FUZZTIME) -test.timeout 0 -test.fuzzminimizetime 100x \
	    -test.fuzzcachedir "$$cache/$$module/$$dir" $(FUZZFLAGS) 2>&1) || exit 1; \
	done | tee >(cat >&2) | awk \
	  '/^fuzz: Fuzz/ { name[++n] = $$2; place[n] = $$4; next } \
	   /^fuzz: elapsed: .*execs: / { took[n] = substr($$3, 1, length($$3) - 1); execs[n] = $$5; next } \
	   /^PASS/ { held++ } \
	   END { for (i = 1; i <= n; i++) { printf "fuzz: %-24s %-32s %12d executions in %s\n", name[i], place[i], execs[i], took[i]; all += execs[i] } \
	     printf "fuzz: %d of %d targets hold in %d executions\n", held, n, all }'

signatures: ## try SIGNATURES mutated signatures (a million) on the kinds of source that are signed
	$(GO) test ./internal/sources -run '^TestSignatures$$' -count=1 -timeout 2h -v -signatures $(SIGNATURES)

simulate: ## play SEEDS seeded worlds around the real engine (2000; SEED= plays one and tells its story; REPORT= writes what was reached)
	$(GO) test ./internal/simulation -run '^TestSimulation$$' -count=1 -timeout 3h -v -seeds $(SEEDS) -progress 10s \
	  $(if $(SEED),-seed $(SEED)) $(if $(REPORT),-report $(abspath $(REPORT)))

torture: ## crash real servers for MINUTES on each database (5; DB=sqlite, postgres or both; REPORT= writes the closing tables)
	$(GO) test ./internal/torture -run '^TestTorture' -count=1 -timeout 3h -v -minutes $(MINUTES) -db $(DB) $(if $(REPORT),-report $(abspath $(REPORT)))

figures: ## measure takeover, restart, stop button, flood, attack, series, rotation and replays, which takes an hour (DB=; SHARE=0.05 for a first look; REPORT=)
	$(GO) test ./internal/torture -run '^Test(Takeover|Restart|StopButton|Flood|Attack|SeriesStayFlat|Rotation|Replays)$$' -count=1 -timeout 3h -v -figures -share $(SHARE) -db $(DB) \
	  $(if $(REPORT),-report $(abspath $(REPORT)))

properties: ## run every property of guards and breakers on CHECKS schedules (40000 each, a million in all) and count them
	@set -o pipefail; $(GO) test -count=1 -timeout 2h -v -run 'Property$$' ./internal/guard ./internal/breaker -rapid.checks=$(CHECKS) | awk \
	  '/^--- PASS/ { passed++; print } \
	   /\[rapid\] OK, passed/ { sub(/.*OK, passed /, ""); sequences += $$1; next } \
	   !/^(===|--- PASS|PASS|ok)/ { print } \
	   END { printf "properties: %d hold in %d sequences\n", passed, sequences }'

# go's overlay plants them, so that the tree is never touched.
mutants: ## plant bugs and see the tests catch each (MUTANT=, a pattern of their names)
	$(GO) test ./internal/mutants -run '^TestMutants$$' -v -count=1 -timeout 3h -plant $(if $(MUTANT),-only '$(MUTANT)')

clean: ## remove what was built
	rm -rf bin coverage.out

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
