#!/usr/bin/env bash
# BERT-base on SST-2. Usage: bash scripts/bert_base/sst.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" bert_base/sst "$@"
