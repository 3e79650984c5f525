#!/usr/bin/env bash
# all-MiniLM-L6-v2 on STS-B. Usage: bash scripts/minilm/stsb.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" minilm/stsb "$@"
