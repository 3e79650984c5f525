#!/usr/bin/env bash
# BERT-base on STS-B. Usage: bash scripts/bert_base/stsb.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" bert_base/stsb "$@"
