#!/usr/bin/env bash
# all-mpnet-base-v2 on MNLI. Usage: bash scripts/mpnet/mnli.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" mpnet/mnli "$@"
