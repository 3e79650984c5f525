#!/usr/bin/env bash
# BERT-base on QQP. Usage: bash scripts/bert_base/qqp.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" bert_base/qqp "$@"
