# Each target makes the environment it needs in .venv. The stamp files in it depend on setup.cfg and
# pyproject.toml, so nothing is installed twice, and a changed dependency is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGING := setup.cfg pyproject.toml
SHELL := /bin/sh

# Two test processes of one thread each use two cores better than one process of two threads.
TEST_PROCESSES ?= 2
TEST_RUN = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadscope

.DELETE_ON_ERROR:
.PHONY: help demo demo-train test test-slow check conformance bench gpu reliability docs quality style clean

help:
	@echo "make demo         the model that comes with auss, on a composed video (35 seconds)"
	@echo "make demo-train   compose a data set, train on it, evaluate, and segment a video (5 minutes)"
	@echo "make test         the tests that CI runs"
	@echo "make test-slow    the long tests too"
	@echo "make check        what CI runs: the tests and, beside them, make quality"
	@echo "make conformance  Transformers' own tests on auss; writes docs/conformance.md (5 minutes)"
	@echo "make bench        what auss costs beside its backbone; writes docs/benchmarks.md"
	@echo "make gpu          tests and benchmarks on a GPU; writes docs/benchmarks_gpu.md (8 minutes)"
	@echo "make reliability  bad input, interruption, attacks; writes docs/reliability.md (20 minutes)"
	@echo "make docs         the pages of docs/ and the reference of the public names as a site in build/site"
	@echo "make quality      ruff check and format check, pyright"
	@echo "make style        let ruff mend what it can"
	@echo "make clean        remove .venv and build leftovers"

demo: $(VENV)/.demo
	$(BIN)/auss demo $(DEMO_ARGUMENTS)

demo-train: $(VENV)/.demo
	$(BIN)/auss demo --train $(DEMO_ARGUMENTS)

test: $(VENV)/.test
	$(TEST_RUN) $(PYTEST_ARGUMENTS)

test-slow: $(VENV)/.test
	$(TEST_RUN) -m "slow or not slow" $(PYTEST_ARGUMENTS)

# pyright takes one core for a minute, so the tests run beside it.
check: $(VENV)/.test,quality
	touch $(VENV)/.test $(VENV)/.quality
	$(MAKE) --jobs=2 --keep-going quality test

conformance: $(VENV)/.conformance
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python tests/conformance/run.py

# torch's threads wait for one another: on a machine that does anything else the figures are worthless.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGUMENTS)

gpu: $(VENV)/.test
	$(BIN)/python benchmarks/gpu.py $(GPU_ARGUMENTS)

reliability: $(VENV)/.test
	$(BIN)/python tests/fuzzing/report.py

docs: $(VENV)/.docs
	@mkdir -p $(VENV)/importable && ln -sfn "$(CURDIR)" $(VENV)/importable/auss
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

quality: $(VENV)/.quality
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p $(VENV)/importable && ln -sfn "$(CURDIR)" $(VENV)/importable/auss
	$(BIN)/pyright --pythonpath $(BIN)/python

style: $(VENV)/.quality
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist auss.egg-info .pytest_cache .ruff_cache

# Debian ships Python without ensurepip; only its python3-venv has it. As root it is installed, others are told.
$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "auss needs Python 3.10 or newer, $(PYTHON) is `$(PYTHON) --version`: make PYTHON=python3.11 ..." >&2; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "`id -u`" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && apt-get install -q -y --no-install-recommends python3-venv; \
		else \
			echo "$(PYTHON) cannot make virtual environments: sudo apt install python3-venv" >&2; exit 1; \
		fi; \
	fi
	$(PYTHON) -m venv $(VENV)
	touch $@

# Each of these is an extra of setup.cfg; `test,quality` are two. Python compiles a file when it is first imported, which
# happens to a third of all.
$(VENV)/.%: $(PACKAGING) | $(VENV)/.created
	$(BIN)/python -m pip install --progress-bar off --no-compile -e '.[$*]'
	touch $@
