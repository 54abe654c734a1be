# `make demo` and `make test` need Python 3.11 or newer, nothing else; `make help` lists the rest.
VENV := .venv
BIN := $(VENV)/bin
FIND_PYTHON = for python in $(PYTHON) python3.12 python3.11 python3.13 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done

.PHONY: help demo test test-all lint types notebooks bench audit pins docs clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(VENV)/ready  ## the main job on the embedded boats: boats, training, an honest score, a submission
	$(BIN)/python train.py data=synthetic data.root=null

test: $(VENV)/ready lint types  ## lint, types and every test that is quick
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(VENV)/ready lint types  ## the slow tests, too
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow or not slow"

lint: $(VENV)/ready  ## ruff: mistakes and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready  ## mypy, strict
	$(BIN)/mypy

notebooks: $(VENV)/ready  ## run the notebooks from top to bottom, in place; what they train stays in runs/notebooks
	$(BIN)/python notebooks/execute.py
	$(BIN)/python notebooks/check.py

bench: $(VENV)/ready build/peers/ready  ## how fast it is beside fastai, timm, torchvision, DALI and FFCV: benchmarks/RESULTS.md, in 35 minutes
	$(BIN)/python benchmarks/run.py

# uv installs in seconds what takes pip minutes; where it can't reach its index, pip may know another one.
# Without bytecode every process that may not write it compiles torch anew, for ten seconds.
$(VENV)/ready: requirements.txt pyproject.toml
	@python=$$($(FIND_PYTHON)); test -n "$$python" \
		|| { echo "Python 3.11 or newer was not found: install it, or name it as in 'make $(MAKECMDGOALS) PYTHON=/path/to/python3.12'"; exit 1; }; \
	echo "Setting up $(VENV) with $$($$python --version); the first time downloads about 3 GB"; \
	$$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -r requirements.txt \
		|| { echo "uv could not install; trying pip"; $(BIN)/python -m pip install -r requirements.txt; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# FFCV is built from source, and not everywhere: without it the others are measured.
build/peers/ready: $(VENV)/ready benchmarks/peers/requirements.txt benchmarks/peers/requirements-ffcv.txt benchmarks/peers/ffcv.sh
	@echo "Setting up build/peers; the first time downloads about 1 GB"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/peers
	@$(BIN)/uv pip install --quiet --compile-bytecode --python build/peers/bin/python -r benchmarks/peers/requirements.txt
	@PATH="$(abspath $(BIN)):$$PATH" sh benchmarks/peers/ffcv.sh build/peers
	@touch $@

audit: $(VENV)/ready  ## is a vulnerability known of a library in requirements.txt? asks the Python Packaging Advisory Database
	$(BIN)/uv tool run --quiet pip-audit --requirement requirements.txt --no-deps --disable-pip

docs: $(VENV)/ready  ## these pages as HTML into build/docs/; a broken link fails
	$(BIN)/properdocs build --quiet
	@echo "Wrote build/docs/index.html"

pins: $(VENV)/ready  ## rewrite requirements.txt from pyproject.toml, to the newest versions that fit
	{ head -n 1 requirements.txt; $(BIN)/uv pip compile pyproject.toml --extra dev --universal --upgrade --no-annotate \
		--no-header --no-emit-index-url; } > requirements.new && mv requirements.new requirements.txt
	{ head -n 1 benchmarks/peers/requirements.txt; $(BIN)/uv pip compile benchmarks/peers/requirements.in -c requirements.txt --universal \
		--upgrade --no-annotate --no-header --no-emit-index-url; } > requirements.new && mv requirements.new benchmarks/peers/requirements.txt

clean:  ## remove the environments; data, tables, runs and submissions stay
	rm -rf $(VENV) build/peers build/ffcv-system
