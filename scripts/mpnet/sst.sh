#!/usr/bin/env bash
# all-mpnet-base-v2 on SST-2. Usage: bash scripts/mpnet/sst.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" mpnet/sst "$@"
