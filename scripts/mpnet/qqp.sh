#!/usr/bin/env bash
# all-mpnet-base-v2 on QQP. Usage: bash scripts/mpnet/qqp.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" mpnet/qqp "$@"
