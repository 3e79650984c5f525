#!/usr/bin/env bash
# BERT-base on all eight tasks at once. Usage: bash scripts/bert_base/mtl.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" bert_base/mtl "$@"
