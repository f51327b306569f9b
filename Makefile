# The task list. `make run` and `make test` do all the set-up themselves; they need Python 3.11+ and make, nothing else.
#
#   make            lint and test
#   make run        start everything: Elasticsearch, drain, HTTP (Ctrl-C stops it)
#   make demo       fill what runs with a lively site's month, to have something to look at
#   make test       the whole suite on a real Elasticsearch; METRONOME_NODE_VERSION=9.2.0 make test for another version
#   make bench      measure against what you would use instead
#   make lint       ruff, mypy, import contracts, generated documents
#   make format     let ruff put the code in form
#   make docs       write the generated parts of the documents, and mappings/
#   make client     build the JavaScript client again (needs Node and npm)
#   make lock       pin the newest dependencies that setup.cfg allows
#   make image      build the container image
#   make clean      remove the virtual environment and what tools left

PYTHON ?= python3
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile -q setup.cfg requirements/build.in --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header
WITH_COG := README.md docs/*.md

.PHONY: check run demo test bench lint format docs client lock image clean
check: lint test

run: .venv/embedded
	@$(BIN)/metronome up

demo: .venv/embedded
	@$(BIN)/metronome demo

test: .venv/dev
	$(BIN)/pytest

bench: .venv/dev
	$(BIN)/python -m bench

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check -I . $(WITH_COG)

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/dev
	$(BIN)/cog -r -I . $(WITH_COG)
	$(BIN)/metronome mappings mappings
	$(BIN)/metronome kibana export docker/kibana/metronome.ndjson

client:
	cd clients/javascript && npm ci && npm run build && npm test && npm run types

lock: .venv/dev
	$(BIN)/pip install -q uv
	$(LOCK) --extra embedded --extra test --extra lint -o requirements/dev.txt
	$(LOCK) --extra embedded -c requirements/dev.txt -o requirements/embedded.txt
	$(LOCK) -c requirements/dev.txt -o requirements/base.txt

image:
	docker build -f docker/Dockerfile -t metronome .

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# One virtual environment for all; a stamp a set of requirements, renewed when its pins change.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Metronome needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

.venv/%: requirements/%.txt setup.cfg | .venv/bin/pip
	@echo "Installing the pinned packages of $< …"
	@$(BIN)/pip install --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@
