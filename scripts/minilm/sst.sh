#!/usr/bin/env bash
# all-MiniLM-L6-v2 on SST-2. Usage: bash scripts/minilm/sst.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" minilm/sst "$@"
