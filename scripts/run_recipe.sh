#!/usr/bin/env bash
# Fine-tune an encoder by a recipe: the paper's settings for one task, or for all tasks on one encoder (mtl). The same
# command again goes on with a run that was cut, and shows the results of one that is done.
#
#   bash scripts/run_recipe.sh RECIPE [options] [flags of train.py]     for example: bert_base/rte --method sage --bf16
#   bash scripts/bert_base/rte.sh [options] [flags of train.py]         for the recipe bert_base/rte
#
#   option          or variable   default
#   --method NAME   METHOD        pats; others: adamax, sage, noisytune, smart, freelb, freelb_third, rdrop, mixout, recadam,
#                                 pats_lr, pats_magnitude, pats_magnitude_variance
#   --seed N        SEED          1
#   --data DIR      DATA_DIR      data/canonical_data: canonical rows, whose features are made if need be, or features
#   --output DIR    OUTPUT_DIR    runs/RECIPE/METHOD/seed_N, with --model runs/RECIPE/METHOD/from_MODEL/seed_N; runs with
#                                 other flags of train.py need another folder
#   --gpus N        GPUS          1; several share each batch
#   --model NAME    MODEL         the recipe's encoder; a hub name, a folder, or a run to go on from: its encoder and its
#                                 heads of the same tasks and labels are taken over
#
# Flags of train.py win over the recipe; paths in them start at the repository's root. Runs in .venv if there is one,
# else with the python on PATH. All recipes: python -m studies.recipes; all flags: python train.py --help
set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

TASK_DEF=experiments/glue/glue_task_def.yml
METHOD="${METHOD:-pats}"
SEED="${SEED:-1}"
DATA="${DATA_DIR:-}"
OUTPUT="${OUTPUT_DIR:-}"
GPUS="${GPUS:-1}"
MODEL="${MODEL:-}"
FLAGS=(--resume)   # and those given for train.py

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

# read_options ARGUMENT...: the options above into their variables, all others into FLAGS.
read_options() {
    local name value
    while (($#)); do
        name="${1%%=*}"
        case "$name" in
            --method | --seed | --data | --data_dir | --output | --output_dir | --gpus | --model | --init_checkpoint) ;;
            -h | --help)
                usage
                exit
                ;;
            *)
                FLAGS+=("$1")
                shift
                continue
                ;;
        esac
        if [[ "$1" == *=* ]]; then value="${1#*=}"; else value="${2:-}"; fi
        [[ -n "$value" ]] || die "$name: expected a value"
        [[ "$1" == *=* ]] || shift
        shift
        case "$name" in
            --method) METHOD="$value" ;;
            --seed) SEED="$value" ;;
            --data*) DATA="$value" ;;
            --output*) OUTPUT="$value" ;;
            --gpus) GPUS="$value" ;;
            *) MODEL="$value" ;;
        esac
    done
}

# in_root PATH: the same path for a command that runs in the repository's root; relative if it lies there, so that a
# run can be resumed from any folder, and after the repository was moved.
in_root() {
    local path="$1"
    if [[ -d "$path" ]]; then
        path="$(CDPATH='' cd -- "$path" && pwd)"
    elif [[ "$path" != /* ]]; then
        path="$PWD/$path"
    fi
    printf '%s\n' "${path#"$ROOT"/}"
}

pick_python() {
    if [[ -x "$VENV_PYTHON" ]]; then
        printf '%s\n' "$VENV_PYTHON"
    else
        command -v python || command -v python3 || die "no .venv, and no python on PATH: see README.md, Start"
    fi
}

# read_recipe: the recipe's tasks into TASKS, its encoder into MODEL unless another is given, the rest into SETTINGS.
read_recipe() {
    local arguments argument before=""
    arguments="$("$PYTHON_BIN" -m studies.recipes "$RECIPE" --method "$METHOD" --flags)"
    SETTINGS=()
    while IFS= read -r argument; do
        case "$before $argument" in
            "--init_checkpoint "*) MODEL="${MODEL:-$argument}" ;;
            "--train_datasets "*) TASKS="$argument" ;;
            *" --init_checkpoint" | *" --train_datasets") ;;   # their values come next
            *) SETTINGS+=("$argument") ;;
        esac
        before="$argument"
    done <<<"$arguments"
}

# first_encoder MODEL: the encoder that a run began with, whose tokenizer the run has, too; else the model itself.
first_encoder() {
    local model="$1" run
    while run="${model%/}" && run="${run%/encoder}" && run="${run%/best}" && [[ -f "$run/config.yaml" ]]; do
        model="$(sed -n "s/^init_checkpoint: *['\"]\{0,1\}\([^'\"]*\)['\"]\{0,1\}\$/\1/p" "$run/config.yaml")"
    done
    printf '%s\n' "$model"
}

# find_features: the folder of features into FEATURES; makes those of tasks that have none there yet.
find_features() {
    local task missing="" maker="$MODEL"
    FEATURES="$DATA"
    if [[ -f "$DATA/manifest.json" || -f "$DATA/${TASKS%%,*}_train.json" ]]; then
        return   # features already, perhaps made by MT-DNN, which writes no manifest
    fi
    FEATURES="$DATA/$(basename -- "$MODEL")"
    if [[ ! -d "$FEATURES" ]]; then
        maker="$(first_encoder "$MODEL")"
        FEATURES="$DATA/$(basename -- "$maker")"
    fi
    for task in ${TASKS//,/ }; do
        [[ -f "$FEATURES/${task}_train.json" ]] || missing="$missing${missing:+,}$task"
    done
    [[ -n "$missing" ]] || return 0
    [[ -d "$DATA" ]] || die "--data $DATA: no such folder; make it from the GLUE download:" \
        "python -m experiments.glue.glue_prepro --glue_dir GLUE --output_dir $DATA"
    say "Canonical rows to token ids: $missing"
    "$PYTHON_BIN" prepro_std.py --model "$maker" --root_dir "$DATA" --task_def "$TASK_DEF" --tasks "$missing"
}

train() {
    local call=("$PYTHON_BIN")
    if ((GPUS > 1)); then
        call+=(-m torch.distributed.run --standalone --nproc_per_node "$GPUS")   # what torchrun is
    fi
    call+=(train.py --data_dir "$FEATURES" --init_checkpoint "$MODEL" --task_def "$TASK_DEF"
        --train_datasets "$TASKS" "${SETTINGS[@]}" --seed "$SEED" --output_dir "$OUTPUT" "${FLAGS[@]}")
    say "$(printf '%q ' "${call[@]}")"
    exec "${call[@]}"   # signals are for train.py, which saves what it has
}

main() {
    case "${1:-}" in
        -h | --help)
            usage
            return
            ;;
        "" | -*) die "expected a recipe first, such as bert_base/rte; --help says more" ;;
    esac
    RECIPE="$1"
    read_options "${@:2}"
    [[ "$GPUS" =~ ^[1-9][0-9]*$ ]] || die "--gpus: expected a whole number from 1, got $GPUS"
    DATA="${DATA:+$(in_root "$DATA")}"
    OUTPUT="${OUTPUT:+$(in_root "$OUTPUT")}"
    if [[ -d "$MODEL" ]]; then MODEL="$(in_root "$MODEL")"; fi
    cd "$ROOT"
    DATA="${DATA:-data/canonical_data}"
    OUTPUT="${OUTPUT:-runs/$RECIPE/$METHOD${MODEL:+/from_${MODEL//\//_}}/seed_$SEED}"
    PYTHON_BIN="$(pick_python)"
    read_recipe
    find_features
    train
}

main "$@"
