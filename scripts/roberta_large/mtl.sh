#!/usr/bin/env bash
# RoBERTa-large on all eight tasks at once. Usage: bash scripts/roberta_large/mtl.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" roberta_large/mtl "$@"
