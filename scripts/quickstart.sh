#!/usr/bin/env bash
# Fine-tune a small pretrained encoder on four sentiment tasks, with Adamax and with PATS-Adamax, and compare them.
#
#   bash scripts/quickstart.sh [flags of train.py]     for example, with OUTPUT_DIR=runs/longer: --epochs 4
#
# Sets up .venv, downloads encoder and texts, makes features, trains twice and prints a table. Run again, it installs
# and downloads nothing, continues runs that were interrupted, and shows the results of those that were finished.
#
#   SEED         seed of both runs (default 1)
#   OUTPUT_DIR   folder of both runs (default runs/quickstart, or runs/quickstart-seed$SEED for another seed);
#                runs with other flags need another folder; flags of PATS go to the PATS run only
#   PYTHON       the interpreter that .venv is made with
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

SEED="${SEED:-1}"
if [[ "$SEED" == 1 ]]; then DEFAULT_OUTPUT=runs/quickstart; else DEFAULT_OUTPUT="runs/quickstart-seed$SEED"; fi
OUTPUT_DIR="${OUTPUT_DIR:-$DEFAULT_OUTPUT}"
DATA=data/quickstart
MODEL="${ENCODER#"$ROOT"/}"   # relative, so that a run can be resumed after the repository was moved
TASK_DEF=experiments/quickstart/vader_task_def.yml
TASKS=moviepol,movieint,amazonpol,amazonint
TEXTS_PACKAGE="vaderSentiment==0.5"

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# The archive of rated texts: .zip or .tar.gz, as the index has it. Empty before the download.
texts_archive() { find "$DOWNLOADS" -maxdepth 1 -iname 'vadersentiment-0.5.*' | head -n 1; }

download_texts() {
    [[ -z "$(texts_archive)" ]] || return 0
    say "Downloading the rated texts, $TEXTS_PACKAGE (source package)"
    "$VENV_PYTHON" -m pip download --disable-pip-version-check --no-deps --no-binary vaderSentiment \
        --dest "$DOWNLOADS" "$TEXTS_PACKAGE"
    [[ -n "$(texts_archive)" ]] || die "pip left no vaderSentiment-0.5 archive in $DOWNLOADS"
}

make_features() {
    say "Texts to canonical rows"
    "$VENV_PYTHON" -m experiments.quickstart.vader_prepro --source "$(texts_archive)" --output_dir "$DATA"
    say "Canonical rows to token ids"
    "$VENV_PYTHON" prepro_std.py --model "$MODEL" --root_dir "$DATA" --task_def "$TASK_DEF" --tasks "$TASKS"
}

# own_flags OPTIM [flags]: fills FLAGS with those that OPTIM takes; plain Adamax refuses PATS's.
own_flags() {
    local optim="$1"
    shift
    FLAGS=(--optim "$optim")
    while (($#)); do
        case "$optim $1" in
            adamax\ --pats_*=*) ;;
            adamax\ --pats_*) shift ;;   # and its value
            *) FLAGS+=("$1") ;;
        esac
        if (($#)); then shift; fi
    done
}

# train OPTIM [flags]
train() {
    local optim="$1"
    own_flags "$@"
    say "Training with $optim, seed $SEED"
    "$VENV_PYTHON" train.py --data_dir "$DATA/$(basename "$MODEL")" --init_checkpoint "$MODEL" \
        --task_def "$TASK_DEF" --train_datasets "$TASKS" --test_datasets "$TASKS" \
        --learning_rate 5e-4 --batch_size 32 --epochs 2 --seed "$SEED" --log_per_updates 20 \
        --output_dir "$OUTPUT_DIR/$optim" --resume "${FLAGS[@]}"
}

main() {
    if [[ "${1:-}" == -h || "${1:-}" == --help ]]; then
        usage
        return
    fi
    cd "$ROOT"
    prepare requirements.txt
    download_texts
    export HF_HUB_OFFLINE=1   # everything is local from here on: a lookup over the network could only wait and fail
    SECONDS=0
    make_features
    train adamax "$@"
    train pats_adamax "$@"
    say "Results after $((SECONDS / 60)) min $((SECONDS % 60)) s"
    "$VENV_PYTHON" -m studies.table "$OUTPUT_DIR/adamax" "$OUTPUT_DIR/pats_adamax"
    cat <<'NOTE'

One seed and few updates. PATS's noise is of the size of a step, so the two rows may differ by some points, either way;
another seed may turn that round, and only many seeds tell which of the two is better. To see less noise at work:
    OUTPUT_DIR=runs/less-noise bash scripts/quickstart.sh --pats_lambda 5e-7
NOTE
    printf '\nWritten, under %s:\n' "$ROOT"
    printf '  %s\n' "$DATA/" "$OUTPUT_DIR/adamax/" "$OUTPUT_DIR/pats_adamax/"
    printf 'Each run holds results.json, metrics.jsonl, config.yaml, tensorboard/ and best/.\n'
}

main "$@"
