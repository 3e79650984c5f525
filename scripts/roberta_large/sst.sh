#!/usr/bin/env bash
# RoBERTa-large on SST-2. Usage: bash scripts/roberta_large/sst.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" roberta_large/sst "$@"
