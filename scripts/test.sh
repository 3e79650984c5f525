#!/usr/bin/env bash
# Set up .venv, then lint, check types and run all tests; stops at the first that fails, with its exit code.
#
#   bash scripts/test.sh [flags of pytest]     for example: tests/module -k pats, and -n 0 for one process
#
# Files of tests are shared out over as many processes as there are cores, four at most, in the order of tests/conftest.py.
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

cd "$ROOT"
prepare requirements-dev.txt
say "Lint"
"$VENV_PYTHON" -m ruff check .
"$VENV_PYTHON" -m ruff format --check .
say "Types"
"$VENV_PYTHON" -m mypy
say "Tests"
"$VENV_PYTHON" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
