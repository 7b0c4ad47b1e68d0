# Every target with one line: `make`
SHELL := /bin/bash
.DEFAULT_GOAL := help
RUN := .venv/bin
PACKAGES := savo_contracts savo_detection savo_datasets savo_providers savo_runtime savo_operations savo_gateway savo_vision savo_collector savo_trainer savo_rollout savo_reasoning savo_cli savo_demo
TESTS := $(wildcard libs/*/tests services/*/tests) cli/tests demo/tests tests
export DEMO_KEEP DEMO_PHOTOS DEMO_GATE DEMO_TRAIN
# Many short processes: a module is compiled once, even where the environment asks Python to keep no bytecode.
export PYTHONDONTWRITEBYTECODE :=

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}'

install: ## install everything that the lock file names, and print time and size
	@scripts/install --all-extras --all-groups

demo: ## turn the whole wheel on generated kitchen scenes (DEMO_PHOTOS=DIR, DEMO_GATE=0.30, DEMO_TRAIN=0, DEMO_KEEP=1)
	@scripts/install --no-dev $(if $(filter 0,$(DEMO_TRAIN)),,--extra yolo)
	@$(RUN)/savo demo

up: ## start everything embedded; without GOOGLE_API_KEY the Google stand-in answers, and says so
	@scripts/install --no-dev --extra yolo
	@if [ -n "$$GOOGLE_API_KEY" ]; then exec $(RUN)/savo up; else \
	  [ -d .savo/standin ] || $(RUN)/savo synthesize --count 60 --output .savo/standin; exec $(RUN)/savo up --standin .savo/standin; fi

lint: style types ## style, types and the rules of the house

style: ## of lint: what ruff and the import rules say
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports --no-cache

types: ## of lint: what mypy says
	$(RUN)/mypy $(addprefix -p ,$(PACKAGES))
	$(RUN)/mypy $(TESTS) benchmarks deploy/grafana docs/generate scripts

test: install ## lint, types, unit, behaviour and integration tests with every real part this machine offers
	@$(MAKE) --no-print-directory style
	@$(MAKE) --no-print-directory -j 2 types suite

# Three workers on two cores: most tests wait for a broker, a database or a process, and the longest run first.
suite: ## of test: pytest alone
	$(RUN)/pytest -m "not real" -n 3 --dist loadfile --no-loadscope-reorder

test-real: install ## what needs longer or more: compose, versitygw, chaos at length, the newest Python, a fresh machine
	$(RUN)/pytest -m real

images: ## build every image of deploy/docker/Dockerfile and print its size
	@deploy/docker/images

bench: install ## figures beside their peers, measured in the same run, as ratios; at most 15 minutes
	$(RUN)/python -m benchmarks

bench-long: install ## all figures, with four times the rounds: intervals half as wide
	$(RUN)/python -m benchmarks --long

generate: ## write the JSON Schemas, docs/flow.md, docs/asyncapi.json, docs/settings.md, docs/logs.md and Grafana's dashboards
	$(RUN)/python -m savo_contracts.specs.generate
	$(RUN)/python -m docs.generate.settings
	$(RUN)/python -m docs.generate.logs
	$(RUN)/python -m deploy.grafana

screenshots: ## take the pictures of docs/images/ from the running product
	$(RUN)/python -m docs.generate.screenshots

format: ## put the code into shape
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

.PHONY: help install demo up lint style types test suite test-real images bench bench-long generate screenshots format
