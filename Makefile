# Understudy: `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
ENV := . scripts/env.sh;

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## the main job on embedded defaults, from a fresh clone: record, rehearse, judge, go live, fall back
	@scripts/demo.sh

.PHONY: observe
observe: ## the demo with its traces in a real Jaeger, which is built once (needs Go)
	@scripts/observe.sh

.PHONY: test
test: ## every test: units, properties, simulations, and end to end with a real model and real SDKs
	@scripts/test.sh

.PHONY: check
check: ## format, lints, docs, borders, licences, unused dependencies, generated files
	@scripts/check.sh

.PHONY: test-kubernetes
test-kubernetes: ## the chart, the injector and the engine on a real Kubernetes node (root; its programs are built once, some 20 minutes)
	@scripts/test-kubernetes.sh

.PHONY: test-specialise
test-specialise: ## the trainer's tests and two real rounds, in the training environment (PyTorch, PEFT: some 3 GB to fetch)
	@scripts/test-specialise.sh

.PHONY: results
results: ## recorded real traffic (UNDERSTUDY_TRAFFIC), into docs/results.md
	@scripts/results.sh

.PHONY: curves
curves: ## learning curves of AGENT (bank-router): agreement by the number of calls recorded
	@scripts/curves.sh $(or $(AGENT),bank-router)

.PHONY: folds
folds: ## AGENT (airline-agent) cross-validated by errand: what may be served of each tool's calls and of text
	@scripts/folds.sh $(or $(AGENT),airline-agent)

.PHONY: shift
shift: ## AGENT (voice-assistant) without a TOOL (get_weather) in training: is what was never seen left to the provider?
	@scripts/shift.sh $(or $(AGENT),voice-assistant) $(or $(TOOL),get_weather)

.PHONY: mixed
mixed: ## all recorded agents in one stream without marks: tasks found, stages, shares served, a plot
	@scripts/mixed.sh

.PHONY: results-quick
results-quick: ## a short form of results, of curves and of mixed, whose claims are checked
	@scripts/results-quick.sh

.PHONY: scorer
scorer: ## false accepts and rejects of each scorer on minimal pairs
	@$(ENV) building; cargo run --quiet --release -p understudy-rehearsal --example scorer

.PHONY: simulate
simulate: ## the policy machine under simulation: false promotions, power, time to demotion
	@$(ENV) building; cargo run --quiet --release -p understudy-policy --example simulate

.PHONY: bench
bench: ## added latency and throughput side by side with a bare pingora
	@scripts/bench.sh

.PHONY: crash
crash: ## kill -9 of the journal's writer and of the proxy, 1,000 rounds each (make test runs 50)
	@$(ENV) building; UNDERSTUDY_CRASH_ROUNDS=1000 cargo test --release -p understudy-capture --test journal crash
	@UNDERSTUDY_CRASH_ROUNDS=1000 scripts/test.sh --profile kills -E 'binary(crash)'

.PHONY: kills
kills: ## the engine killed under load, 1,000 times (make test kills it 4 times): some 50 minutes
	@UNDERSTUDY_KILLS=1000 scripts/test.sh --profile kills --no-capture -E 'test(the_main_job)'

.PHONY: build
build: ## the binary
	@$(ENV) building; cargo build --release --workspace --bins

.PHONY: fmt
fmt: ## format
	@cargo fmt --all
