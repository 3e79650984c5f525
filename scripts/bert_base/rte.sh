#!/usr/bin/env bash
# BERT-base on RTE. Usage: bash scripts/bert_base/rte.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" bert_base/rte "$@"
