# Everything starts here, on a machine with Python >= 3.11 and make: the environment is made from the hashed lock at
# the first call and again when the lock changes.

PORT ?= 8000
DATA_DIR ?= .tillroll
ARGS ?=

VENV := .venv
STAMP := $(VENV)/.installed
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
# The project is not installed but found: a path file serves every directory and every child process.
PATH_FILE := import os, sysconfig; open(os.path.join(sysconfig.get_path("purelib"), "tillroll.pth"), "w").write(os.getcwd() + "\n")

.PHONY: up test certify bench load sabotage audit lint k8s-tools
.DELETE_ON_ERROR:

up: $(STAMP)  ## the whole system in this terminal, until Ctrl-C
	@exec $(VENV)/bin/tillroll up --data-dir "$(DATA_DIR)" --port "$(PORT)"

test: $(STAMP)  ## every test that this machine allows; ARGS="tests/unit -k cart" chooses
	@exec $(VENV)/bin/python -m pytest -n auto --dist loadfile $(ARGS)

certify: $(STAMP)  ## ten minutes of load and faults, then a verdict on every row; ARGS="--seed 7 --minutes 1" chooses
	@exec $(VENV)/bin/tillroll certify --report "$(DATA_DIR)/certification" $(ARGS)

bench: $(STAMP)  ## what an order costs beside other ways to take one, in docs/bench/; ARGS="--quick" is a minute, not kept
	@exec $(VENV)/bin/tillroll bench $(or $(ARGS),--report docs/bench)

load: $(STAMP) .venv-load/.installed  ## Locust against what `make up` runs, and a verdict on the rows; ARGS="flash-sale --web"
	@exec $(VENV)/bin/python -m tests.load.run --data-dir "$(DATA_DIR)" $(ARGS)

sabotage: $(STAMP)  ## break each promise in a copy of the source and see its tests turn red (many minutes)
	@TILLROLL_SLOW=1 exec $(VENV)/bin/python -m pytest tests/sabotage $(ARGS)

audit: $(STAMP)  ## ask for known vulnerabilities of every locked package; fails for a finding, and when nobody can be asked
	@exec $(VENV)/bin/python .ci/audit.py

lint: $(STAMP)  ## style, types and who may import whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.venv-load/.installed: $(STAMP) tests/load/requirements.lock
	@$(VENV)/bin/python -m venv .venv-load
	@.venv-load/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/load/requirements.lock
	@touch $@

k8s-tools: $(STAMP)  ## what tests/k8s needs: kustomize, the schemas of Kubernetes and KEDA (Node and npm must be there)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/k8s/requirements.lock
	@npm ci --prefix tests/k8s --silent --no-audit --no-fund

$(STAMP): requirements.lock Makefile
	@for python in $(PYTHON) python3 python3.12 python3.11 python3.13 python3.14 python; do \
		command -v "$$python" >/dev/null && "$$python" -c '$(NEW_ENOUGH)' 2>/dev/null && break; python=; \
	done; \
	[ -n "$$python" ] || { echo "Python 3.11 or later is needed and was not found on PATH; or: make PYTHON=/path/to/python" >&2; exit 1; }; \
	"$$python" -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "Python's venv module is missing: install it (Debian and Ubuntu: apt install python3-venv), then run make again." >&2; exit 1; }; \
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || { echo "Making $(VENV) ..."; "$$python" -m venv --clear $(VENV); }
	@echo "Installing what requirements.lock names ..."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/bin/python -c '$(PATH_FILE)'
	@printf '#!/bin/sh\nexec "%s/bin/python" -m services.cli "$$@"\n' "$(CURDIR)/$(VENV)" > $(VENV)/bin/tillroll
	@chmod +x $(VENV)/bin/tillroll
	@touch $@
