#!/usr/bin/env bash
# Set up what Pairplay needs on this machine:
#   scripts/setup.sh python    the virtual environment .venv with the library versions of constraints.txt
#   scripts/setup.sh browser   what only the tests need from the system: Chromium, and OpenGL without a screen
# The Makefile calls both. Installs system packages only as root on a system with apt-get; everywhere else it
# says what is missing and how to get it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
TORCH_INDEX=${TORCH_INDEX-auto}
VENV=.venv
LOG=$VENV/setup.log
CPU_WHEELS=https://download.pytorch.org/whl/cpu

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# run_logged MESSAGE COMMAND…: the command's output goes to the log; on a terminal its newest line is shown meanwhile.
run_logged() {
    local message=$1 started=$SECONDS pid line status=0
    shift
    say "$message"
    "$@" </dev/null >>"$LOG" 2>&1 &
    pid=$!
    # A background job of a script ignores Ctrl-C, so it is ended here.
    trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
    if [ -t 1 ]; then
        while kill -0 "$pid" 2>/dev/null; do
            line=$(tail -n 1 "$LOG" | cut -c1-90)
            printf '\r\033[K  %3d s  %s' $((SECONDS - started)) "$line"
            sleep 0.5
        done
        printf '\r\033[K'
    fi
    wait "$pid" || status=$?
    trap - INT TERM
    return "$status"
}

# apt_install PACKAGE…: only where it can work without asking anybody.
can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    run_logged "Installing system packages: $*" \
        sh -c 'apt-get update && apt-get install -y --no-install-recommends "$@"' sh "$@"
}

setup_python() {
    command -v "$PYTHON" >/dev/null || fail \
        "Pairplay needs Python 3.11 or newer, and there is no '$PYTHON' here." \
        "  Debian, Ubuntu:  apt-get install python3 python3-venv" \
        "  macOS:           brew install python@3.13" \
        "Another interpreter is chosen with:  make setup PYTHON=/path/to/python"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail \
        "Pairplay needs Python 3.11 or newer; '$PYTHON' is $("$PYTHON" --version 2>&1)." \
        "  Debian 12, Ubuntu 24.04 and newer have it:  apt-get install python3 python3-venv" \
        "  macOS:                                      brew install python@3.13" \
        "If you have one under another name:  make setup PYTHON=python3.13"
    mkdir -p "$VENV"
    : >"$LOG"
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>>"$LOG"; then
        can_apt && apt_install python3-venv || fail \
            "This Python cannot make virtual environments: its venv module is missing." \
            "  Debian, Ubuntu:  apt-get install python3-venv     (as root, with network)"
    fi
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        "$PYTHON" -m venv "$VENV" >>"$LOG" 2>&1 || fail "Could not create $VENV:" "$(tail -n 5 "$LOG")"
    fi

    # The build backend comes first and pinned too, instead of whatever is newest on the day.
    pip_install "Preparing $VENV" pip hatchling editables || pip_failed
    install_torch
    pip_install "Installing the libraries (the first time takes a few minutes)" \
        --no-build-isolation --group dev --editable . || pip_failed
    say "Ready: $VENV"
}

pip_install() {
    local message=$1
    shift
    run_logged "$message" "$VENV/bin/python" -m pip install --progress-bar off --disable-pip-version-check \
        --constraint constraints.txt "$@"
}

pip_failed() {
    local reason
    if grep -qE 'No space left on device' "$LOG"; then
        reason="The disk is full: the libraries take about 2 GB."
    elif grep -qE 'Retrying \(|ConnectionError|Could not fetch URL|ReadTimeout' "$LOG"; then
        reason="The package index cannot be reached. It takes the network, a mirror named in PIP_INDEX_URL,
or a folder with wheels of everything in constraints.txt:  PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER make setup"
    elif grep -qE 'No matching distribution|requires a different Python' "$LOG"; then
        reason="One of the libraries has no wheel for this Python or platform (see below). Tested are Linux and
Python 3.11; another interpreter is chosen with:  make setup PYTHON=python3.11
$(grep -E '^ERROR' "$LOG" | head -n 3)"
    else
        reason=$(tail -n 15 "$LOG")
    fi
    fail "pip could not install the libraries." "$reason" "pip's whole output is in $LOG. The same command goes on from here."
}

# On Linux, PyPI's torch brings CUDA with it: several GB of no use without an NVIDIA GPU. Its version says neither
# +cpu nor +cu…; only then, and unless TORCH_INDEX decides, torch comes from PyTorch's own index of CPU wheels.
install_torch() {
    local torch version
    torch=$(grep -o '^torch==[^ ;]*' constraints.txt)
    if [ -z "$TORCH_INDEX" ] || "$VENV/bin/python" -c 'import torch' 2>/dev/null; then
        return 0
    elif [ "$TORCH_INDEX" != auto ]; then
        pip_install "Installing $torch from $TORCH_INDEX" --no-deps --index-url "$TORCH_INDEX" "$torch" || pip_failed
    elif [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
        version=$("$VENV/bin/python" -m pip install --dry-run --no-deps --quiet --report - "$torch" 2>>"$LOG" |
            "$VENV/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["metadata"]["version"])' \
                2>>"$LOG") || pip_failed
        case $version in *+*) return 0 ;; esac
        pip_install "Installing $torch for CPU (no NVIDIA GPU here)" \
            --no-deps --retries 1 --timeout 20 --index-url "$CPU_WHEELS" "$torch" ||
            say "  $CPU_WHEELS cannot be reached: taking torch from pip's own index, several GB."
    fi
}

find_chromium() {
    local name
    for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome google-chrome-stable \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        command -v "$name" && return
    done
    return 1
}

# Only a picture drawn shows that OpenGL works without a screen.
can_draw() {
    [ "$(uname -s)" = Linux ] || return 0
    MUJOCO_GL=egl "$VENV/bin/python" -c 'import mujoco; mujoco.GLContext(8, 8).make_current()' >/dev/null 2>&1
}

missing_packages() {
    find_chromium >/dev/null || printf 'chromium '
    # Playwright speaks to the browser through a program of its own.
    "$VENV/bin/playwright" --version >/dev/null 2>&1 || printf 'libatomic1 '
    can_draw || printf 'libegl1 libgl1-mesa-dri '
}

setup_browser() {
    LOG=$VENV/browser.log
    : >"$LOG"
    local packages
    packages=$(missing_packages)
    [ -n "$packages" ] || return 0
    if can_apt; then
        # shellcheck disable=SC2086  # one word a package
        apt_install $packages && [ -z "$(missing_packages)" ] && return
        fail "apt-get could not install: $packages" "$(grep -E '^(E|Err):' "$LOG" | head -n 5)" \
            "It takes the network, or a package mirror in /etc/apt. The whole output is in $LOG."
    fi
    fail "The tests need what this system does not have yet: $packages" \
        "  Debian:         sudo apt-get install $packages" \
        "  Fedora:         sudo dnf install chromium libatomic mesa-libEGL mesa-dri-drivers" \
        "  macOS, Ubuntu:  Google Chrome from google.com/chrome (Ubuntu's chromium is a snap, which tests cannot drive)" \
        "A browser in an unusual place is named with:  make test CHROMIUM=/path/to/chrome" \
        "All but the browser tests run without it:     .venv/bin/pytest -m 'not browser'"
}

case ${1:-} in
python) setup_python ;;
browser) setup_browser ;;
*) fail "usage: scripts/setup.sh python | browser" ;;
esac
