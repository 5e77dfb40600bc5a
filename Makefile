# flowguard: one release build serves the demo, the tests and the installation.
# `make` lists the targets.

SWIFT   ?= swift
PREFIX  ?= /usr
DESTDIR ?=
# Options of Benchmarks/accuracy/run, as --only skab or --markdown docs/accuracy.md.
ACCURACY ?=
# Options of Benchmarks/speed/run, as --shapes 8x8x64 --peers jax or --markdown docs/benchmarks.md.
SPEED ?=
# Options of Benchmarks/learning/run and of Benchmarks/ingest/run, as --quick or --rows 100000.
LEARNING ?=
INGEST ?=

# What `make soak` does: how often the daemon is killed in each run, and by which seed.
KILLS   ?= 1000
SEED    ?= 1

# What `make fuzz` does: seconds or inputs for each target, the seed, and which targets (all).
FUZZ_SECONDS ?= 60
FUZZ_RUNS    ?=
FUZZ_SEED    ?= 1
FUZZ         ?=

# Every step takes the same flags: other flags would build everything anew.
BUILD_FLAGS := -c release --explicit-target-dependency-import-check error
SWIFT_FILES := Package.swift Sources Tests samples Benchmarks
# SwiftPM notes the release binaries here, whatever the architecture.
BIN         := .build/release

.DEFAULT_GOAL := help
.PHONY: help deps build test test-senders soak fuzz demo accuracy speed learning ingest docs pictures format lint unit-check install uninstall test-systemd ci clean

help: ## list the targets
	@echo "flowguard: make TARGET"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | \
	  while IFS='|' read -r name text; do printf '%-16s%s\n' "$$name" "$$text"; done
	@echo
	@echo "  make install takes PREFIX (now $(PREFIX)) and DESTDIR (now '$(DESTDIR)')."

deps: ## install the system libraries that are missing (apt)
	@scripts/install-deps

build: deps ## build everything, tests included, in release mode
	$(SWIFT) build --build-tests $(BUILD_FLAGS)

test: build ## build and run all tests
	$(SWIFT) test --skip-build $(BUILD_FLAGS)

test-senders: build ## test with rsyslog, collectd, socat, logrotate; installs them (root, apt)
	@SWIFT="$(SWIFT)" scripts/test-senders $(BUILD_FLAGS)

soak: build ## kill the daemon 1,000 times a run against the truth (KILLS=, SEED=)
	FLOWGUARD_SOAK_KILLS=$(KILLS) FLOWGUARD_SOAK_SEED=$(SEED) \
	  $(SWIFT) test --skip-build $(BUILD_FLAGS) --filter 'DurabilityTests'

fuzz: ## run libFuzzer on every decoder (FUZZ_SECONDS=60 each, or FUZZ_RUNS=; FUZZ=TARGET, FUZZ_SEED=)
	@SWIFT="$(SWIFT)" FUZZ_SECONDS="$(FUZZ_SECONDS)" FUZZ_RUNS="$(FUZZ_RUNS)" FUZZ_SEED="$(FUZZ_SEED)" \
	  scripts/fuzz $(FUZZ)

demo: build ## watch a daemon learn two streams and catch their faults (2 minutes)
	@scripts/demo $(BIN)

accuracy: build ## print every accuracy table beside its goal (needs data: docs/accuracy.md)
	@Benchmarks/accuracy/run --verbose $(ACCURACY)

speed: ## measure the flows beside Python peers and the machine's limits (an hour: docs/benchmarks.md)
	@Benchmarks/speed/run $(SPEED)

learning: ## compare what the flows learn with Python peers (half an hour: docs/benchmarks.md)
	@Benchmarks/learning/run $(LEARNING)

ingest: build ## measure decoding and a record's whole way beside Python peers (docs/benchmarks.md)
	@Benchmarks/ingest/run $(INGEST)

docs: deps ## build the pages of the FlowDensity library, a static site in .build-docs/site
	@SWIFT="$(SWIFT)" scripts/build-docs

pictures: build ## draw the densities of docs/densities.md anew (some minutes)
	$(BIN)/flowguard-densities --output docs/pictures

format: ## put all Swift files into the project's format
	$(SWIFT) format -i -r $(SWIFT_FILES)

lint: ## check the format and the documentation rules
	$(SWIFT) format lint --strict -r $(SWIFT_FILES)

unit-check: ## check the systemd units: syntax, and exposure at most 1.6
	@scripts/check-units

install: ## install what `make build` built, under DESTDIR and PREFIX
	@scripts/install --bin "$(BIN)" --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

uninstall: ## remove what `make install` installed; state and configuration stay
	@scripts/install --remove --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

test-systemd: build ## run the service under a real systemd in a container (root)
	@scripts/test-systemd $(BIN)

ci: ## what the continuous integration runs
	.ci/run

clean: ## remove all that was built
	rm -rf .build
