#!/bin/sh
# This bundle on @PLATFORM@: offline, needs Python @PYTHONS@ (no pip, no root) and sh, nothing else.
#   sh install.sh              verify the bundle, unpack its runtime once, run a self-check
#   sh install.sh --check      the same, for deploying: exit 0 runs here, 3 cannot be told here, else does not
#   sh install.sh --run VERB.. a duomem command, with the runtime of this bundle
# The bundle's folder stays as it is. The runtime goes to $DUOMEM_HOME, by default ~/.local/share/duomem.
# $PYTHON: the interpreter to use.
set -eu
LC_ALL=C; export LC_ALL
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
wheel=$here/wheels/@WHEEL@

say() { printf 'install.sh: %s\n' "$*" >&2; }

fits='import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "@PYTHONS@".split(", "))'
found=
for python in ${PYTHON:+"$PYTHON"} @NAMES@ python3; do
    if command -v "$python" >/dev/null 2>&1 && "$python" -I -c "$fits" >/dev/null 2>&1; then
        found=$(command -v "$python")
        break
    fi
done
if [ -z "$found" ]; then
    say "no Python @PYTHONS@ here: install python3 of one of these versions, or name it in PYTHON"
    exit 3
fi

if [ -n "${DUOMEM_HOME:-}" ]; then
    home=$DUOMEM_HOME
elif [ -n "${XDG_DATA_HOME:-}" ]; then
    home=$XDG_DATA_HOME/duomem
elif [ -n "${HOME:-}" ]; then
    home=$HOME/.local/share/duomem
else
    say "neither DUOMEM_HOME nor HOME is set: set DUOMEM_HOME to a folder for the runtime"
    exit 1
fi

# The installer comes out of duomem's own wheel: only if that is the one this bundle was made with.
unpack='
import hashlib, sys, zipfile
data = open(sys.argv[1], "rb").read()
if hashlib.sha256(data).hexdigest() != "@SHA256@":
    sys.exit("install.sh: %s: its SHA-256 is not the one this bundle was made with: copy the bundle again" % sys.argv[1])
zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])
'
first=$(mktemp -d "${TMPDIR:-/tmp}/duomem.XXXXXX")
trap 'rm -rf "$first"' EXIT
trap 'exit 130' INT TERM HUP
unset PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV
PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1
export PYTHONDONTWRITEBYTECODE PYTHONNOUSERSITE PYTHONSAFEPATH
"$found" -I -c "$unpack" "$wheel" "$first"
runtime=$(PYTHONPATH=$first "$found" -m duomem.device.install "$here" "$home")
rm -rf "$first"
trap - EXIT INT TERM HUP

PYTHONPATH=$runtime TVM_USE_RUNTIME_LIB=1
export PYTHONPATH TVM_USE_RUNTIME_LIB
if [ "${1:-}" = --run ]; then
    shift
    exec "$found" -m duomem.cli.main "$@"
fi
[ "${1:-}" = --check ] || say "runtime in $runtime"
exec "$found" -m duomem.cli.main doctor --bundle "$here"
