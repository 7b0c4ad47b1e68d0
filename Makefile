# `make` lists every target with one line.
SHELL := /bin/bash
.DEFAULT_GOAL := help
RUN := .venv/bin
PACKAGES := savo_contracts savo_detection savo_datasets savo_providers savo_runtime savo_operations savo_gateway savo_vision savo_collector savo_trainer savo_rollout savo_reasoning savo_cli savo_demo
TESTS := $(wildcard libs/*/tests services/*/tests) cli/tests demo/tests tests
export DEMO_KEEP DEMO_PHOTOS DEMO_GATE DEMO_TRAIN
# The targets start many short processes: keep bytecode even where the environment disables it.
export PYTHONDONTWRITEBYTECODE :=

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

install: ## install everything in the lock file, and print time and size
	@scripts/install --all-extras --all-groups

demo: ## run the whole flywheel on generated kitchen scenes (DEMO_PHOTOS=DIR, DEMO_GATE=0.30, DEMO_TRAIN=0, DEMO_KEEP=1)
	@scripts/install --no-dev $(if $(filter 0,$(DEMO_TRAIN)),,--extra yolo)
	@$(RUN)/savo demo

# Both can be set to false in the environment.
up: export SAVO_COLLECT_TRAINING_DATA ?= true
up: export SAVO_USE_CUSTOM_VISION ?= true
up: ## start everything on this machine; without GOOGLE_API_KEY a stand-in answers
	@scripts/install --no-dev --extra yolo
	@if [ -n "$$GOOGLE_API_KEY" ]; then exec $(RUN)/savo up; else \
	  [ -d .savo/standin ] || $(RUN)/savo synthesize --count 60 --output .savo/standin; exec $(RUN)/savo up --standin .savo/standin; fi

lint: style types ## style, types and import rules

style: ## part of lint: ruff and the import rules
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports --no-cache

types: ## part of lint: mypy
	$(RUN)/mypy $(addprefix -p ,$(PACKAGES))
	$(RUN)/mypy $(TESTS) benchmarks deploy/grafana docs/generate scripts

test: install ## lint and all tests, on the real Kafka, PostgreSQL, browser … that this machine has
	@$(MAKE) --no-print-directory style
	@$(MAKE) --no-print-directory -j 2 types suite

# Four workers on two cores: most tests wait for a broker, a database or a process. The longest files come first.
suite: ## part of test: pytest
	$(RUN)/pytest -m "not real" -n 4 --dist loadfile --no-loadscope-reorder

test-real: install ## longer tests: Docker Compose, versitygw, long chaos, the newest Python, a new machine
	$(RUN)/pytest -m real

images: ## build every image of deploy/docker/Dockerfile and print its size
	@deploy/docker/images

bench: install ## measure figures and their ratio to a peer in the same run; at most 15 minutes
	$(RUN)/python -m benchmarks

bench-long: install ## measure all figures, with four times the rounds
	$(RUN)/python -m benchmarks --long

generate: ## write JSON Schemas, generated pages of docs/ and Grafana's dashboards
	$(RUN)/python -m savo_contracts.specs.generate
	$(RUN)/python -m docs.generate.settings
	$(RUN)/python -m docs.generate.logs
	$(RUN)/python -m deploy.grafana

screenshots: ## make the pictures of docs/images/ from the running product
	$(RUN)/python -m docs.generate.screenshots

format: ## format the code
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

.PHONY: help install demo up lint style types test suite test-real images bench bench-long generate screenshots format
