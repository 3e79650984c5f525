# For those who work on the toolkit. Everything runs in .venv, which the first target that needs it makes.
PYTHON_BIN := .venv/bin/python

.PHONY: setup lint type test bench dist quickstart

setup:
	@bash -c 'set -euo pipefail; source scripts/common.sh; prepare requirements-dev.txt'

lint: setup
	$(PYTHON_BIN) -m ruff check .
	$(PYTHON_BIN) -m ruff format --check .

type: setup
	$(PYTHON_BIN) -m mypy

test:
	bash scripts/test.sh

bench: setup
	$(PYTHON_BIN) -m scripts.bench_optim
	$(PYTHON_BIN) -m scripts.bench_train

# The wheel and the sdist of the optimizers, ready to publish. What is in them: pyproject.toml.
dist: setup
	$(PYTHON_BIN) -m build --no-isolation

quickstart:
	bash scripts/quickstart.sh
