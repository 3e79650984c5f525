#!/usr/bin/env bash
# all-mpnet-base-v2 on CoLA. Usage: bash scripts/mpnet/cola.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" mpnet/cola "$@"
