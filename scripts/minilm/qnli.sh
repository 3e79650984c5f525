#!/usr/bin/env bash
# all-MiniLM-L6-v2 on QNLI. Usage: bash scripts/minilm/qnli.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" minilm/qnli "$@"
