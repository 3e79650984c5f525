#!/usr/bin/env bash
# all-mpnet-base-v2 on STS-B. Usage: bash scripts/mpnet/stsb.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" mpnet/stsb "$@"
