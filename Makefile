# The commands of this repository. `make help` lists them. Each target does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Where downloads, builds and virtual environments are kept between runs.
export LEGIONIO_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/legionio-ollama
# Directory of the staged tree; it can be deleted at any time.
export LEGIONIO_BUILD ?= $(CURDIR)/build

STAGED := $(LEGIONIO_BUILD)/ansible_collections/legionio/ollama
# Runs a command in the environment of tests/requirements.txt, from the staged tree.
IN_STAGE := tests/tools/in-stage.sh
REPORTS := $(LEGIONIO_BUILD)/reports
PYTEST_ARGS ?=
# Free text, so make must not expand its $ signs, and the recipe reads it from the environment.
QUESTION ?=
override export QUESTION := $(value QUESTION)
CHECKS ?=
# If set, the unit tests measure line coverage. `make test` sets it.
COVERAGE ?=
STEPS ?=
SCENARIO ?= default
# Simulated fleets: the number of seeds and the first one, or a single seed; CROWD multiplies the number of requests.
SEEDS ?= 1000
FIRST ?= 0
SEED ?=
CROWD ?= 1
# Names of benchmarks, and their options (tests/bench --help). With options, no document is written.
BENCH ?=
BENCH_ARGS ?=
# Options of a simulation (tests/bench/simulate_fleet.py --help, tests/bench/simulate_neighbours.py --help).
SIMULATE_ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9.-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Main targets

.PHONY: demo
demo: stage ## build a lab of three hosts, provision it, and answer a chat and an embedding request through the queue
	@$(IN_STAGE) tests/lab/demo.sh up

.PHONY: demo-picture
demo-picture: stage ## record `make demo`, and draw docs/demo.svg from the record
	@mkdir -p $(LEGIONIO_BUILD)
	@script --quiet --return --command 'stty cols 118; make --no-print-directory demo' $(LEGIONIO_BUILD)/demo.log
	@$(IN_STAGE) python tests/tools/terminal_picture.py $(LEGIONIO_BUILD)/demo.log $(CURDIR)/docs/demo.svg

.PHONY: ask
ask: stage ## send another question to the demo's fleet: make ask QUESTION='What is the capital of Norway?'
	@$(IN_STAGE) tests/lab/demo.sh ask $(if $(QUESTION),"$$QUESTION")

.PHONY: demo-down
demo-down: ## remove what `make demo` started
	@tests/lab/demo.sh down

.PHONY: test
test: ## run all checks below, two at a time; STEPS='lint unit' chooses
	@python3 tests/tools/link_rooms.py --check
	@python3 tests/lab/abandoned.py
	@python3 tests/tools/run_steps.py $(STEPS)

.PHONY: test-deep
test-deep: ## run all checks on every supported version of each server, with every drill and 100 rounds of each fault: hours
	@TEST_DEPTH=deep $(MAKE) --no-print-directory test

## Checks

.PHONY: lint
lint: stage ## yamllint, ansible-lint, ruff, mypy, shellcheck, changelog, docs, house rules; CHECKS='ruff mypy' chooses
	@python3 tests/lint/commit_messages.py
	@$(IN_STAGE) tests/tools/lint.sh $(CHECKS)

.PHONY: format
format: ## let ruff format and fix the Python files of this tree
	@venv=$$(tests/tools/venv.sh tests/requirements.txt) && "$$venv/bin/ruff" format --quiet . && "$$venv/bin/ruff" check --fix --quiet .

.PHONY: sanity
sanity: sanity-2.19 sanity-2.21 ## ansible-test sanity, without ignores, on ansible-core 2.19 and 2.21

.PHONY: sanity-2.19
sanity-2.19: stage ## ansible-test sanity on the oldest supported ansible-core
	@tests/tools/sanity.sh 2.19

.PHONY: sanity-2.21
sanity-2.21: stage ## ansible-test sanity on the newest ansible-core; needs Python 3.12 or newer
	@tests/tools/sanity.sh 2.21

# Number of processes for the unit tests. `make test` runs another step at the same time, and sets 0: only pytest's own process.
UNIT_PROCESSES ?= $(if $(PYTEST_ARGS),0,auto)

.PHONY: unit
unit: stage ## unit and architecture tests; PYTEST_ARGS='-k name' chooses, here and below
	@$(IN_STAGE) pytest tests/unit --numprocesses=$(UNIT_PROCESSES) --dist=loadfile --junitxml=$(REPORTS)/unit.xml $(if $(COVERAGE),--cov --cov-report=json:$(REPORTS)/coverage.json) $(PYTEST_ARGS)
	@$(if $(COVERAGE),python3 tests/tools/coverage_report.py $(REPORTS)/coverage.json)

.PHONY: coverage
coverage: ## unit tests with the line coverage of each room; fails below 85 %
	@$(MAKE) --no-print-directory unit COVERAGE=1

.PHONY: integration
integration: stage parts parts-ollama parts-clients ## tests against real RabbitMQ, S3 server and Ollama
	@$(IN_STAGE) pytest tests/integration --junitxml=$(REPORTS)/integration.xml $(PYTEST_ARGS)

# Parts of the integration tests, which `make test` runs in parallel.
.PHONY: integration-collection
integration-collection: stage ## tests that start Ansible's programs: checks of roles, templates, and the archive that users install
	@$(IN_STAGE) pytest tests/integration/collection --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: integration-fleet
integration-fleet: stage parts parts-ollama ## integration tests of the worker and of its messages
	@$(IN_STAGE) pytest tests/integration/fleet tests/integration/wire --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: integration-gateway
integration-gateway: stage parts parts-clients ## integration tests of the gateway: its clients, and its page in a browser; the search of the site
	@$(IN_STAGE) pytest tests/integration/gateway --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: integration-mirror
integration-mirror: stage parts parts-ollama ## integration tests of the mirror
	@$(IN_STAGE) pytest tests/integration/mirror --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: integration-servers
integration-servers: stage parts parts-ollama ## integration tests of Ollama servers and their client
	@$(IN_STAGE) pytest tests/integration/client tests/integration/server tests/integration/test_lab_services.py --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: integration-progress
integration-progress: stage parts ## integration tests of live progress
	@$(IN_STAGE) pytest tests/integration/progress --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

# minio, s3proxy, or moto.
S3_SERVER ?= minio

.PHONY: integration-s3
integration-s3: stage ## integration tests of the mirror over another S3 server: S3_SERVER=minio chooses it
	@tests/lab/setup.sh
	@$(if $(filter moto,$(S3_SERVER)),,tests/lab/parts.sh $(S3_SERVER))
	@S3_SERVER=$(S3_SERVER) $(IN_STAGE) pytest tests/integration/mirror --junitxml=$(REPORTS)/integration-s3-$(S3_SERVER).xml $(PYTEST_ARGS)

# The S3 servers of a deep run.
OTHER_S3 := integration-s3-minio integration-s3-moto
.PHONY: $(OTHER_S3)
$(OTHER_S3):
	@$(MAKE) --no-print-directory integration-s3 S3_SERVER=$(@:integration-s3-%=%)

.PHONY: faults
faults: stage parts ## tests that kill processes, cut connections, corrupt files and fill disks; FAULT_ROUNDS=100 for more rounds
	@$(IN_STAGE) pytest tests/faults --junitxml=$(REPORTS)/faults.xml $(PYTEST_ARGS)

.PHONY: faults-fleet
faults-fleet: stage parts ## fault tests of the worker
	@$(IN_STAGE) pytest tests/faults/fleet --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: faults-gateway
faults-gateway: stage parts ## fault tests of the gateway
	@$(IN_STAGE) pytest tests/faults/gateway --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: faults-mirror
faults-mirror: stage parts ## fault tests of the mirror
	@$(IN_STAGE) pytest tests/faults/mirror --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: faults-client
faults-client: stage parts parts-ollama ## fault tests of the client of Ollama
	@$(IN_STAGE) pytest tests/faults/client --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

# DRILL_FAULTS: a regular expression of the faults to cause. DRILL_DEFAULTS: any value tests RabbitMQ's default settings of a cluster.
export DRILL_FAULTS ?=
export DRILL_DEFAULTS ?=

.PHONY: drill-cluster
drill-cluster: stage parts ## every fault of a cluster of brokers on each series of RabbitMQ, 30 of leaders; DRILL_FAULTS='paused' chooses
	@TEST_DEPTH=deep $(IN_STAGE) pytest tests/faults/fleet/test_cluster.py -s --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: stage parts ## 20,000 malformed messages beside valid ones on each series of RabbitMQ; FUZZ_SEED=1 FUZZ_MESSAGES=500 chooses
	@FUZZ_SEED=$${FUZZ_SEED:-$$RANDOM} FUZZ_MESSAGES=$${FUZZ_MESSAGES:-20000} $(IN_STAGE) \
		pytest tests/faults/fleet/test_fuzz.py -rP --junitxml=$(REPORTS)/$@.xml $(PYTEST_ARGS)

.PHONY: simulate
simulate: stage ## fleets in virtual time, one for each seed, with random faults; SEEDS=1000 FIRST=0; SEED=7 shows one
	@$(IN_STAGE) python tests/simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST)) --crowd $(CROWD)

.PHONY: molecule
molecule: stage parts ## the whole fleet on hosts with real systemd; SCENARIO=name for another scenario than default
	@$(IN_STAGE) tests/lab/molecule.sh test --scenario-name $(SCENARIO)

# The other scenarios of a deep run.
OTHER_SCENARIOS := molecule-gateway molecule-legionio molecule-tls molecule-airgap molecule-distros molecule-tags molecule-peers molecule-cluster \
	molecule-situations molecule-tutorials molecule-kills molecule-upgrade
.PHONY: $(OTHER_SCENARIOS)
$(OTHER_SCENARIOS):
	@$(MAKE) --no-print-directory molecule SCENARIO=$(@:molecule-%=%)
# The scenarios use another version of Ollama, which cannot run models.
molecule-upgrade: parts-ollama ## upgrade and roll back a fleet under load
molecule-kills: parts-ollama ## kill twenty runs of provision_fleet, and check that the next run completes each

.PHONY: killed-run
killed-run: parts ## kill `make test` at random moments, and check that the next run works
	@python3 tests/lab/killed_run.py

.PHONY: execution-environment
execution-environment: build parts ## build an execution environment with ansible-builder, and run a playbook in it twice
	@tests/lab/parts.sh execution-environment
	@$(IN_STAGE) tests/tools/execution_environment.sh

.PHONY: build-check
build-check: build docs ## check the archive with galaxy-importer, release, verify and install it, and build the site without warnings
	@$(IN_STAGE) tests/tools/import_archive.sh
	@$(IN_STAGE) tests/tools/try_release.sh

## Builds

.PHONY: parts
parts: ## build or find the heavy parts of the lab: host images, Ollama, models, S3 server
	@tests/lab/setup.sh
	@tests/lab/parts.sh

.PHONY: parts-ollama
parts-ollama: ## build the oldest and the newest Ollama for the tests of compatibility
	@tests/lab/setup.sh
	@tests/lab/parts.sh ollama-oldest ollama-newest

.PHONY: parts-clients
parts-clients: ## install a browser, Node.js, and the npm packages for the tests of the gateway
	@tests/lab/setup.sh --clients
	@tests/lab/parts.sh node-clients

.PHONY: build
build: stage ## build the archive for `ansible-galaxy collection install`, in build/dist
	@$(IN_STAGE) ansible-galaxy collection build --force --output-path $(LEGIONIO_BUILD)/dist

# The version, the list of checksums (sha256sum.txt of the release by default), and files with variables in place of those of this tree.
VERSION ?=
SUMS ?=
FILES ?=

.PHONY: bump-ollama
bump-ollama: ## write another version of Ollama and its checksum into the tree: VERSION=0.24.0; FILES=group_vars/all/fleet.yml for an inventory
	@python3 tests/tools/bump_ollama.py '$(VERSION)' $(if $(SUMS),--sums '$(SUMS)') $(FILES)

# Fingerprint of the secret key that signs a release.
RELEASE_KEY ?=

.PHONY: release
release: build ## build archive, bills of materials, checksums and signature, in build/release; RELEASE_KEY=fingerprint signs
	@RELEASE_KEY='$(RELEASE_KEY)' $(IN_STAGE) tests/tools/release.sh

.PHONY: docs
docs: stage ## build the guides and the reference as a site, in build/docs/html
	@$(IN_STAGE) tests/tools/docs.sh

.PHONY: bench
bench: stage ## measure the collection and its alternatives, and write docs/performance.md; BENCH='download resume' chooses
	@tests/lab/setup.sh
	@$(IN_STAGE) python tests/bench $(BENCH) $(or $(BENCH_ARGS),--document $(CURDIR)/docs/performance.md)

# Options of the benchmark of neighbours (tests/bench/neighbour_bench.py --help).
PEERS_ARGS ?=
.PHONY: bench-peers
bench-peers: stage ## measure imports with and without neighbours, on 20 nodes in network namespaces; needs root
	@tests/lab/setup.sh
	@$(IN_STAGE) python tests/bench/neighbour_bench.py $(PEERS_ARGS)

.PHONY: bench-upload
bench-upload: stage ## measure the tokens a second of a node that sends blobs to a neighbour; PEERS_ARGS='--rounds 3'
	@tests/lab/setup.sh
	@$(IN_STAGE) python tests/bench/upload_bench.py $(PEERS_ARGS)

.PHONY: simulate-neighbours
simulate-neighbours: stage ## simulate imports from neighbours: SIMULATE_ARGS='--nodes 40 --rate 1000 --mirror 10000 --blob 8G'
	@$(IN_STAGE) python tests/bench/simulate_neighbours.py $(SIMULATE_ARGS)

.PHONY: simulate-fleet
simulate-fleet: stage ## load one real broker with 1,000 worker connections, and print the cost
	@tests/lab/setup.sh
	@$(IN_STAGE) python tests/bench/simulate_fleet.py $(SIMULATE_ARGS)

# Options of tests/bench/provision_crowd.py.
CROWD_ARGS ?=

.PHONY: provision-crowd
provision-crowd: stage parts ## provision 20 light nodes in one run, and print time and memory; CROWD_ARGS='--nodes 10'
	@$(IN_STAGE) python tests/bench/provision_crowd.py $(CROWD_ARGS)

.PHONY: venv
venv: ## build (or find) the virtual environment of the tests, and print where it is
	@tests/tools/venv.sh tests/requirements.txt

.PHONY: stage
stage: ## copy the tree to build/ansible_collections/legionio/ollama, where Ansible's tools expect it
	@python3 tests/tools/stage.py $(STAGED)

.PHONY: links
links: ## add missing links of the daemons to plugins/module_utils (`make stage` does it, too)
	@python3 tests/tools/link_rooms.py

.PHONY: clean
clean: ## remove build/; the cache stays
	rm -rf $(LEGIONIO_BUILD)

.PHONY: clean-cache
clean-cache: clean ## remove build/ and the cache: environments, host images, builds, models
	@tests/tools/clean_cache.sh
