#!/usr/bin/env bash
# RoBERTa-large on MNLI. Usage: bash scripts/roberta_large/mnli.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" roberta_large/mnli "$@"
