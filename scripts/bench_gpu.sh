#!/usr/bin/env bash
# Test and measure the toolkit on a GPU: one command, under eight minutes, one table and one JSON file.
#
#   bash scripts/bench_gpu.sh [--output FOLDER] [--rehearse] [--only NAMES]
#
# It runs with the Python of the surroundings, or with the one that PYTHON names, and installs nothing. --rehearse does
# all of it in small on a CPU, the kernels in Triton's interpreter. docs/performance.md says what is measured.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python3}" -m scripts.gpu.main "$@"
