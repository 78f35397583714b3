# Every command a person needs. `make help` lists them; each does all of its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# Where downloads, builds and virtual environments are kept between runs.
export LEGIONIO_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/legionio-ollama
# Where the tree is staged; everything in it can be thrown away.
export LEGIONIO_BUILD ?= $(CURDIR)/build

STAGED := $(LEGIONIO_BUILD)/ansible_collections/legionio/ollama
# Runs a command in the environment of tests/requirements.txt, from the staged tree.
IN_STAGE := tests/tools/in-stage
PYTEST_ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: ## build (or find) the virtual environment of the tests, and print where it is
	@tests/tools/venv tests/requirements.txt

.PHONY: stage
stage: ## copy the tree to build/ansible_collections/legionio/ollama, where Ansible's tools expect it
	@tests/tools/stage $(STAGED)

.PHONY: unit
unit: stage ## unit and architecture tests; PYTEST_ARGS='-k name' chooses
	@$(IN_STAGE) pytest tests/unit $(PYTEST_ARGS)
