#!/usr/bin/env bash
# BERT-base on CoLA. Usage: bash scripts/bert_base/cola.sh [--method pats] [--seed 1] [--help]
exec bash "$(dirname -- "${BASH_SOURCE[0]}")/../run_recipe.sh" bert_base/cola "$@"
