# Two commands: `make run` starts everything, `make test` runs every test. Both set everything up first.
ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
PYTHON ?= $(shell for each in python3.13 python3.12 python3.11 python3; do \
	$$each -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
BIN := $(ROOT)/.venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint $(ROOT)/constraints.txt
RUNNABLE := $(ROOT)/.venv/.runnable
TESTABLE := $(ROOT)/.venv/.testable
READERS := $(ROOT)/.venv-conformance/.installed
PEERS := $(ROOT)/.venv-peers/.installed
SOURCES := annotations exports versions labeler tests manage.py

.PHONY: help run test faults cases hostile drill soak prove bench bench-http bench-peers bench-page load conformance screenshots check format reset clean readers
.DEFAULT_GOAL := help

help:  ## say what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/'

run: $(RUNNABLE)  ## start Labeler with everything it needs; Ctrl+C stops it
	@cd $(ROOT) && exec $(BIN)/python -m labeler.embedded.up

test: $(TESTABLE)  ## run every test but the long ones; ARGS="tests/versions -k publish" runs some
	@cd $(ROOT) && $(BIN)/python -m pytest $(ARGS)

faults: $(TESTABLE)  ## the long tests: every row of the fault table, and the recovery drill
	@cd $(ROOT) && $(BIN)/python -m pytest -m long $(ARGS)

soak: $(TESTABLE)  ## faults for as long as one has time; ARGS="--seeds 200 --kills 20", a table at the end
	@cd $(ROOT) && $(BIN)/python -m tests.faults.soak $(ARGS)

prove: $(TESTABLE)  ## take each guard away on a copy: the tests must turn red
	@cd $(ROOT) && $(BIN)/python -m tests.faults.prove $(ARGS)

cases: $(TESTABLE)  ## try TIMES (20) as many made-up cases as make test does, other ones each time; hours
	@cd $(ROOT) && LABELER_CASES=$(or $(TIMES),20) $(BIN)/python -m pytest -m hypothesis --timeout=0 --dist=worksteal $(ARGS)

hostile: $(TESTABLE)  ## try TIMES (20) times as many made-up requests and damaged files as make test does, and count them
	@cd $(ROOT) && LABELER_CASES=$(or $(TIMES),20) $(BIN)/python -m pytest -n 2 --timeout=0 -rP --show-capture=stdout \
		tests/labeler/test_hostile_requests.py tests/versions/test_hostile_files.py $(ARGS)

readers: $(READERS)  ## install what make conformance reads our files with

conformance: $(READERS)  ## read our files with pycocotools, Datumaro, supervision and Ultralytics
	@cd $(ROOT) && PYTHONPATH=$(ROOT) .venv-conformance/bin/python -m pytest -c tests/conformance/pytest.ini \
		--rootdir=$(ROOT) --confcutdir=tests/conformance tests/conformance $(ARGS)

drill: $(RUNNABLE)  ## lose a database of its own on purpose, bring it back, measure; ARGS="--seconds 60" works longer
	@cd $(ROOT) && $(BIN)/python -m labeler.embedded.drill $(ARGS)

bench: $(RUNNABLE)  ## what versions cost against a raw COPY; ARGS="--sizes S M --rounds 2" does less
	@cd $(ROOT) && $(BIN)/python -m benchmarks $(ARGS)

bench-http: $(RUNNABLE)  ## saves, confirms and lists over HTTP; ARGS="--sizes S" does less
	@cd $(ROOT) && $(BIN)/python -m benchmarks.latency $(ARGS)

bench-peers: $(RUNNABLE) $(PEERS)  ## Datumaro and Label Studio's converter on the same data; ARGS="--size S --rounds 3"
	@cd $(ROOT) && $(BIN)/python -m benchmarks.peers $(ARGS)

load: $(RUNNABLE)  ## 1, 50 and 200 annotators at work while the project is published; ARGS="--clients 50 --size S"
	@cd $(ROOT) && $(BIN)/python -m benchmarks.annotators $(ARGS)

bench-page: $(TESTABLE)  ## the page with 100,000 images: opening, the next image, dragging; ARGS="--images 2000" does less
	@cd $(ROOT) && $(BIN)/python -m benchmarks.page $(ARGS)

screenshots: $(TESTABLE)  ## take docs/screenshots/ anew; ARGS="dashboard --language ko" takes some
	@cd $(ROOT) && $(BIN)/python -m tests.page.screenshots $(ARGS)

check: $(TESTABLE)  ## lint, format, types, import contracts, migrations, production settings
	@cd $(ROOT) && sh .ci/check

format: $(TESTABLE)  ## put the code into its form
	@cd $(ROOT) && $(BIN)/ruff format $(SOURCES) && $(BIN)/ruff check --fix $(SOURCES)

reset: $(RUNNABLE)  ## forget all data of ./var (or LABELER_DATA)
	@cd $(ROOT) && $(BIN)/python -m labeler.embedded.reset --yes

clean:  ## remove the virtual environment and caches; data stays
	@rm -rf $(ROOT)/.venv $(ROOT)/.venv-conformance $(ROOT)/.venv-peers $(ROOT)/.pytest_cache $(ROOT)/.ruff_cache $(ROOT)/.mypy_cache $(ROOT)/.hypothesis

$(ROOT)/.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Labeler needs Python 3.11 or newer with venv (Debian: apt install python3-venv)." >&2; exit 1; }
	@echo "Making the virtual environment with $(PYTHON) ..."
	@$(PYTHON) -m venv $(ROOT)/.venv

$(RUNNABLE): $(ROOT)/.venv/bin/python $(ROOT)/requirements.txt $(ROOT)/constraints.txt
	@echo "Installing packages ..."
	@$(PIP) --requirement $(ROOT)/requirements.txt
	@touch $@

$(TESTABLE): $(RUNNABLE) $(ROOT)/requirements-dev.txt
	@echo "Installing packages for tests ..."
	@$(PIP) --requirement $(ROOT)/requirements-dev.txt
	@touch $@

$(READERS): $(ROOT)/requirements-conformance.txt
	@echo "Installing other people's readers (about 2 GB) ..."
	@$(PYTHON) -m venv $(ROOT)/.venv-conformance
	@$(ROOT)/.venv-conformance/bin/python -m pip --disable-pip-version-check install --quiet --requirement $(ROOT)/requirements-conformance.txt
	@touch $@

$(PEERS): $(ROOT)/requirements-peers.txt
	@echo "Installing other people's converters ..."
	@$(PYTHON) -m venv $(ROOT)/.venv-peers
	@$(ROOT)/.venv-peers/bin/python -m pip --disable-pip-version-check install --quiet --requirement $(ROOT)/requirements-peers.txt
	@touch $@
