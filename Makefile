# Drover. `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help build static demo demo-down test unit e2e planes planes-down soak bench lint format generate verify tools clean

CARGO ?= cargo
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
DROVER := $(TARGET)/debug/drover
E2E    := $(TARGET)/debug/drover-e2e
MUSL   := $(shell uname -m)-unknown-linux-musl
# One selection of packages for every build: with another one features differ, and what is built already is built again.
ALL    := --locked --workspace

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## Build drover and the test harness
	$(CARGO) build $(ALL)

# ring and zstd are the only C in it, and need nothing that musl does not have.
static: ## Build drover as the image has it: static, with musl
	rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL)
	CC_$(subst -,_,$(MUSL))=cc $(CARGO) build --locked --target $(MUSL) -p drover-manager

demo: build ## Run the demo; DEMO=keep leaves it running, DEMO=tour shows everything there is to try
	$(E2E) demo $(if $(filter keep tour,$(DEMO)),--$(DEMO))

demo-down: build ## End a demo that was left running
	$(E2E) demo-down

test: unit e2e ## Run all tests but those of make soak

unit: ## Run the tests that need no control plane
	DROVER_E2E_SKIP=1 $(CARGO) test $(ALL)

e2e: build tools $(if $(TEST),,static) ## Run the tests on real control planes; TEST=part-of-a-name runs what matches
	$(if $(TEST),DROVER_E2E_MUST_MATCH=1 )$(CARGO) test $(ALL) --test e2e -- $(TEST)

planes: build ## Start control planes that stay, so that single tests begin at once
	$(E2E) planes

planes-down: build ## End the control planes that stayed
	$(E2E) planes-down

soak: build static tools ## Run one part of what needs minutes by its nature: PART=watches, away, bench, kills or load
	$(if $(filter bench,$(PART)),$(CARGO) build --locked --release -p drover-manager)
	$(if $(filter bench,$(PART)),DROVER_BINARY=$(abspath $(TARGET))/release/drover) \
	DROVER_E2E_SOAK=$(or $(PART),$(error name a part: make soak PART=watches)) $(CARGO) test $(ALL) --test e2e

bench: build tools ## Measure what decisions and a fleet cost, in about an hour; prints times and tables
	$(CARGO) bench $(ALL) --bench resolve --bench plan --bench index --bench report
	$(CARGO) build --locked --release -p drover-manager
	DROVER_BINARY=$(TARGET)/release/drover $(E2E) bench
	DROVER_BINARY=$(abspath $(TARGET))/release/drover $(CARGO) bench --locked -p drover-e2e --bench backups

tools: build ## Find or build the programs of the control planes
	$(E2E) tools

lint: ## Check formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

format: ## Format the code
	$(CARGO) fmt --all

generate: build ## Generate config/ and what the charts take from the code
	$(DROVER) crds --output config/crd
	$(DROVER) rbac --output config/rbac
	$(DROVER) admission --output config/admission
	$(DROVER) docs --output config
	$(DROVER) chart-files --output charts --kustomization config

verify: generate ## Check that what is generated is what is committed
	@test -z "$$(git status --porcelain -- config charts)" || { git status --short -- config charts; git --no-pager diff -- config charts; \
	  echo "config/ or charts/ is out of date: run 'make generate' and commit the result" >&2; exit 1; }

clean: ## Remove what was built here (not the cached control planes)
	$(CARGO) clean
