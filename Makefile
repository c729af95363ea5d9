# Every target creates .venv from the pinned lock file on first use; Python 3.11+ and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed

# Bytecode makes every later start several seconds faster (ccxt alone costs 3-7 s uncompiled).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install dev demo up test check proof drill bench soak screenshots lock clean

help:
	@echo "make demo         simulated market, everything up: Dagster, dashboard, webhook receiver"
	@echo "make up           live venues"
	@echo "make test         the test suite (PostgreSQL and browser included)"
	@echo "make check        lint, formatting, types, Dagster definitions"
	@echo "make proof        the long tests"
	@echo "make drill        faults on purpose and a simulated month; hours; results go to docs/"
	@echo "make bench        benchmarks; results go to bench/README.md"
	@echo "make screenshots  docs/screenshots from the simulated market"
	@echo "make lock         compile the lock files anew"

install: $(RUN)
dev: $(DEV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "regimes needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

define install_from
	@echo "Installing from $(1) (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') regimes_dagster dash_app || true
endef

$(RUN): requirements.lock pyproject.toml | $(BIN)/python
	$(call install_from,requirements.lock)
	@touch $@

$(DEV): requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	$(call install_from,requirements-dev.lock)
	@touch $@ $(RUN)

demo: $(RUN)
	@$(BIN)/regimes demo

up: $(RUN)
	@$(BIN)/regimes up

test: $(DEV)
	@$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

proof: $(DEV)
	@$(BIN)/python -m pytest -m slow --timeout 7200

check: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy regimes_dagster dash_app
	@$(BIN)/python -m bench.validate_definitions

drill: $(DEV)
	@$(BIN)/python -m bench.drill
	@$(BIN)/python -m bench.month

bench: $(DEV)
	@$(BIN)/python -m bench

soak: $(DEV)
	@$(BIN)/python -m bench.soak_alerts

screenshots: $(DEV)
	@$(BIN)/python -m bench.screenshots

lock: $(DEV)
	@$(BIN)/uv pip compile pyproject.toml --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --extra dev -c requirements.lock --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-dev.lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
