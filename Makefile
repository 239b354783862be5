# Drover. `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help build static demo demo-down test unit e2e bench lint format generate verify tools clean

CARGO ?= cargo
E2E   := target/debug/drover-e2e
MUSL  := $(shell uname -m)-unknown-linux-musl
# Two control planes' worth of stories at a time keeps two cores busy and the waits short.
E2E_THREADS ?= 2

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## Build drover and the test harness
	$(CARGO) build --locked -p drover-manager -p drover-e2e

# ring is the only C in it and needs no headers of musl.
static: ## Build drover as the image has it: static, with musl
	rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL)
	CC_$(subst -,_,$(MUSL))=cc $(CARGO) build --locked --target $(MUSL) -p drover-manager

demo: build ## Run the demo; DEMO=keep leaves it running, DEMO=tour shows everything there is to try
	$(E2E) demo $(if $(filter keep tour,$(DEMO)),--$(DEMO))

demo-down: build ## End a demo that was left running
	$(E2E) demo-down

test: unit e2e ## Run all tests

unit: ## Run the tests that need no control plane
	$(CARGO) test --locked --workspace --exclude drover-e2e

e2e: build static tools ## Run the tests on real control planes
	$(CARGO) test --locked -p drover-e2e -- --test-threads=$(E2E_THREADS)

bench: build tools ## Measure what a fleet costs, in about half an hour; prints tables
	$(CARGO) build --locked --release -p drover-manager
	DROVER_BINARY=target/release/drover $(E2E) bench

tools: build ## Find or build the programs of the control planes
	$(E2E) tools

lint: ## Check formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

format: ## Format the code
	$(CARGO) fmt --all

generate: build ## Generate config/ and what the charts take from the code
	target/debug/drover crds --output config/crd
	target/debug/drover rbac --output config/rbac
	target/debug/drover docs --output config
	target/debug/drover charts --output charts

verify: generate ## Check that what is generated is what is committed
	@test -z "$$(git status --porcelain -- config charts)" || { git status --short -- config charts; git --no-pager diff -- config charts; \
	  echo "config/ or charts/ is out of date: run 'make generate' and commit the result" >&2; exit 1; }

clean: ## Remove what was built here (not the cached control planes)
	$(CARGO) clean
