#!/usr/bin/env bash
# BERT-base on QNLI. Usage: bash scripts/bert_base/qnli.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" bert_base/qnli "$@"
