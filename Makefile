# Everything a developer or an integrator types; plain `make` lists it.
# Recipes use paths relative to this folder, so that a path with spaces does no harm.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Handed on to the command behind a target: make demo ARGS="--for 30s"
ARGS ?=
# Debian keeps servers such as mosquitto in sbin, which a plain user's PATH leaves out.
export PATH := $(PATH):/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

python := .venv/bin/python
pip := $(python) -m pip install --quiet
pin := $(python) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' Makefile | expand -t 17

.PHONY: demo
demo: .venv/.demo ## set up .venv and run the main job on embedded parts; needs no root (ARGS="--for 30s")
	@exec .venv/bin/gateway demo $(ARGS)

.PHONY: demo-fleet
demo-fleet: .venv/.dev ## many buildings on this machine: nats-servers, intakes and edges to kill (ARGS="--for 30s")
	@type -P nginx >/dev/null || .ci/install-packages nginx
	cd tests && exec ../$(python) -m support.fleet_demo $(ARGS)

# The tests wait more than they work: four at a time suit two cores. Tests of one file stay together; long files
# come first, as tests/conftest.py has it.
in_parallel := --numprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: test
test: .venv/.dev packages .venv/.bacnet-clients ## set up .venv and Debian's mosquitto, mbpoll and the like, then run all tests (ARGS="-k modbus")
	@exec $(python) -m pytest $(or $(ARGS),$(in_parallel))

.PHONY: lint
lint: .venv/.dev ## check style, types and the direction of imports
	@step() { echo "== $$*"; $(python) -m "$$@"; }
	step ruff check .
	step ruff format --check .
	step mypy
	echo "== lint-imports"
	$(python) .venv/bin/lint-imports --no-logo

.PHONY: check
check: lint test ## lint and test; the tests lint Dockerfile and unit file too. This is what CI runs

.PHONY: bench
bench: .venv/.dev ## measure: durable intake against a bare aiohttp handler, the mapping alone, and the whole path
	@for program in bench/[!_]*.py; do $(python) "$$program" $(ARGS); done

.PHONY: lock
lock: .venv/.dev ## pin requirements/*.txt again after a change of dependencies (ARGS="--upgrade": newest releases)
	@pin() { echo "Pinning requirements/$$1 …"; $(pin) $(ARGS) --output-file "requirements/$$1" "$${@:2}"; }
	pin dev.txt --extra speed --extra nats --extra demo pyproject.toml requirements/build.in requirements/installer.in requirements/dev.in
	pin demo.txt --constraints requirements/dev.txt --extra speed --extra demo pyproject.toml requirements/build.in
	pin run.txt --constraints requirements/dev.txt --extra speed --extra nats pyproject.toml
	pin decoders.txt --no-deps requirements/decoders.in
	pin build.txt --constraints requirements/dev.txt requirements/build.in
	pin installer.txt --constraints requirements/dev.txt requirements/installer.in

.PHONY: wheelhouse
wheelhouse: .venv/bin/python ## gather in dist/wheelhouse all that a box with this Python needs to install without network
	@systemd/make-wheelhouse.sh $(python) dist/wheelhouse

.PHONY: clean
clean: ## remove .venv, caches and builds
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@echo "Creating .venv …"
	.ci/create-venv

.venv/.demo: requirements/demo.txt pyproject.toml | .venv/bin/python
	@echo "Installing the gateway and what its demo needs …"
	$(pip) --require-hashes --requirement requirements/demo.txt
	$(pip) --no-deps --no-build-isolation --editable .
	touch .venv/.demo

.venv/.dev: requirements/dev.txt requirements/decoders.txt requirements/installer.txt pyproject.toml | .venv/bin/python
	@echo "Installing the gateway and what tests and linters need …"
	$(pip) --require-hashes --requirement requirements/dev.txt
	$(pip) --require-hashes --no-deps --upgrade --target .venv/decoders --requirement requirements/decoders.txt
	$(python) -m pip download --quiet --require-hashes --only-binary :all: --dest .venv/wheels \
	  --requirement requirements/build.txt --requirement requirements/run.txt --requirement requirements/installer.txt
	$(pip) --no-deps --no-build-isolation --editable .
	touch .venv/.demo .venv/.dev

# Without --no-package-lock, npm would write down the addresses that it downloads from.
.venv/.bacnet-clients: tests/support/package.json | .venv/bin/python packages
	@echo "Installing BACnet clients in JavaScript that tests use …"
	mkdir -p .venv/bacnet-clients
	cp tests/support/package.json .venv/bacnet-clients
	npm install --prefix .venv/bacnet-clients --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel error
	touch .venv/.bacnet-clients

# The real parts that the tests run against. Left of the colon a command, right of it the Debian package that has it.
tools := mosquitto:mosquitto mosquitto_sub:mosquitto-clients mbpoll:mbpoll socat:socat \
  curl:curl openssl:openssl node:nodejs npm:npm tshark:tshark systemd-analyze:systemd promtool:prometheus nginx:nginx caddy:caddy chromium:chromium

.PHONY: packages
packages:
	@missing=()
	for tool in $(tools); do
	  type -P "$${tool%:*}" >/dev/null || missing+=("$${tool#*:}")
	done
	[[ $${#missing[@]} == 0 ]] || .ci/install-packages "$${missing[@]}"
