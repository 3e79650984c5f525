#!/usr/bin/env bash
# RoBERTa-large on QQP. Usage: bash scripts/roberta_large/qqp.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" roberta_large/qqp "$@"
