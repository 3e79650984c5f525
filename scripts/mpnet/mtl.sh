#!/usr/bin/env bash
# all-mpnet-base-v2 on all eight tasks at once. Usage: bash scripts/mpnet/mtl.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" mpnet/mtl "$@"
