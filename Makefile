# `make demo` and `make test` need Python 3.11 or newer, nothing else; `make help` lists the rest.
VENV := .venv
BIN := $(VENV)/bin
FIND_PYTHON = for python in $(PYTHON) python3.12 python3.11 python3.13 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done

.PHONY: help demo test lint types notebooks pins docs clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(VENV)/ready  ## the main job on the embedded boats: boats, training, an honest score, a submission
	$(BIN)/python train.py data=synthetic data.root=null

test: $(VENV)/ready lint types  ## lint, types and every test
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/ready  ## ruff: mistakes and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready  ## mypy, strict
	$(BIN)/mypy

notebooks: $(VENV)/ready  ## run the notebooks from top to bottom, in place; what they train stays in runs/notebooks
	$(BIN)/python notebooks/execute.py
	$(BIN)/python notebooks/check.py

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

docs: $(VENV)/ready  ## these pages as HTML into build/docs/; a broken link fails
	$(BIN)/properdocs build --quiet
	@echo "Wrote build/docs/index.html"

pins: $(VENV)/ready  ## rewrite requirements.txt from pyproject.toml, to the newest versions that fit
	{ head -n 1 requirements.txt; $(BIN)/uv pip compile pyproject.toml --extra dev --universal --upgrade --no-annotate \
		--no-header --no-emit-index-url; } > requirements.new && mv requirements.new requirements.txt

clean:  ## remove the environment; data, tables, runs and submissions stay
	rm -rf $(VENV)
