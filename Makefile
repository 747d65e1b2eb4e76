# The commands of the course. They need Python 3.11 to 3.14, make and pip, and keep everything in .venv and the user's cache.

PYTHON ?= python3
TORCH_INDEX ?=
LAB_OPTIONS ?=
BIN := .venv/bin
WORKERS := -n 2 --dist loadfile
NBVAL := @tools/nbval.args
REPORTS := build/tests.xml build/notebooks.xml

# Idle OpenMP threads must sleep, or two open notebooks slow each other thirtyfold. Read when torch is imported.
export OMP_WAIT_POLICY := PASSIVE
export JUPYTER_CONFIG_PATH := $(CURDIR)/jupyter_config
export JUPYTER_PREFER_ENV_PATH := 1

.PHONY: help setup lab test test-long test-browser test-faults test-portable test-repeat notebooks site slides archive offline-kit bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12    another Python than python3, for the first set-up"
	@echo "  TORCH_INDEX=<url>    take torch from this package index (on Linux: the CPU build), for the first set-up"
	@echo "  LAB_OPTIONS='...'    more options for JupyterLab, such as --no-browser --port=8890"

setup: .venv/.lab ## the environment in .venv and the base model in the cache
	@echo "Ready. Next: make lab"

lab: .venv/.lab ## set up, then open JupyterLab at your working copy of notebook 00, in my/
	@$(BIN)/python -m lorautils fresh
	$(BIN)/python -m jupyterlab $(LAB_OPTIONS)

test: .venv/.test ## set up, then everything that CI checks
	@rm -f $(REPORTS)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m codespell_lib
	$(BIN)/python -m pytest -rs $(WORKERS) --junitxml $(word 1,$(REPORTS)) tests
	$(BIN)/python tools/offline.py $(BIN)/python -m pytest $(NBVAL) $(WORKERS) --junitxml $(word 2,$(REPORTS)) notebooks

test-long: .venv/.test ## the tests that are too long for every change, 15 minutes; CI runs them every night
	LORAUTILS_TEST_LONG=1 $(BIN)/python -m pytest -rs $(WORKERS) -m long tests

test-browser: .venv/.test ## every notebook run to its end in a browser, about 40 minutes (NAMES="00_start_here" for some)
	$(BIN)/python -m pytest -s -v $(or $(NAMES:%='tests/browser_all.py::test_whole[%]'),tests/browser_all.py)

test-faults: .venv/.test ## a kill and a full disk at every write of conversion, training, saving and merging, 4 minutes
	LORAUTILS_TEST_FAULTS=1 $(BIN)/python -m pytest -rs tests/test_faults.py

test-portable: .venv/.test ## the notebooks' outputs under other instruction sets, threads and seeds (NAMES=), 3 hours; resumable
	$(BIN)/nox -s portable -- $(NAMES)

test-repeat: .venv/.test ## `make test` five times in a row, beside two processes that keep two cores busy, about three hours
	@busy=; trap 'kill $$busy' EXIT; trap 'exit 1' INT TERM; \
	for core in 1 2; do nice -n 5 sh -c 'while :; do :; done' & busy="$$busy $$!"; done; \
	for run in 1 2 3 4 5; do \
	  echo "=== run $$run of 5"; \
	  make test; \
	  $(BIN)/python -m tools.suite "run $$run of 5, beside two busy processes (nice 5)" || exit 1; \
	done

notebooks: .venv/.test ## execute every notebook in place, from a fresh kernel (NAMES="00_start_here" for some)
	$(BIN)/python -m ruff format notebooks
	$(BIN)/python -m tools.notebooks $(NAMES)

site: .venv/.site ## the course as pages in build/site, from the stored outputs
	$(BIN)/python -m tools.website

slides: .venv/.site ## the lecture and a deck of every notebook in build/slides
	$(BIN)/python -m tools.slides

archive: site ## the pages in one zip, build/lorautils-VERSION-pages.zip
	$(BIN)/python -m tools.archive

offline-kit: .venv/.lab ## build/offline-kit: all that a room without network needs, for machines like this one
	$(BIN)/python -m tools.offline_kit

bench: .venv/.lab ## a training step's tokens a second: stock PEFT, the fused layers, the bound (idle machine, 2 minutes)
	$(BIN)/python -m experiments.throughput

clean: ## remove the environment and what the tools keep beside it
	rm -rf build .venv .pytest_cache .ruff_cache .hypothesis lorautils.egg-info

# The stamps are the last thing that a set-up writes: one that was interrupted starts again, a finished one is never repeated.
.venv/.lab: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || { \
	  echo "This course needs Python 3.11 to 3.14; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	    "Install one and name it: make $(or $(MAKECMDGOALS),lab) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --no-deps --index-url $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)")
	$(BIN)/python -m pip install -c constraints.txt -e ".[lab]"
	$(BIN)/python -m lorautils fetch
	touch $@

.venv/.site: .venv/.lab
	$(BIN)/python -m pip install -c constraints.txt -e ".[lab,site]"
	touch $@

.venv/.test: .venv/.site
	$(BIN)/python -m pip install -c constraints.txt -e ".[lab,site,test]"
	touch $@
