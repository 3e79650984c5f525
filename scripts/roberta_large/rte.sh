#!/usr/bin/env bash
# RoBERTa-large on RTE. Usage: bash scripts/roberta_large/rte.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" roberta_large/rte "$@"
