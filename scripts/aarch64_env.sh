#!/usr/bin/env bash
# An AArch64 Debian with Python and duomem's runtime, run by qemu on this machine: for checks, not for speed.
#   scripts/aarch64_env.sh [DIR]            make it in DIR (runs/aarch64); a second run does nothing
#   DIR/python [-cpu MODEL] ARGUMENTS...    run its Python, on an emulated CPU such as cortex-a53 or max
# Debian packages come from this machine's own apt sources, wheels from its own pip index, each checked
# against duomem/deploy/wheels.lock: so it takes a Python with duomem's packages ($PYTHON, .venv). Maintainer
# scripts are not run, so no root is needed but for installing qemu-user-static where it is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${1:-$here/runs/aarch64}")
python=${PYTHON:-python3}
[[ -x $here/.venv/bin/python ]] && python=$here/.venv/bin/python
inputs=$(cat "$0" "$here"/duomem/deploy/wheels.{lock,py} | sha256sum | cut -d' ' -f1)

if [[ -f $out/made && $(cat "$out/made") == "$inputs" ]]; then
    echo "$out: up to date, nothing to do"
    exit
fi
if ! command -v qemu-aarch64-static >/dev/null; then
    if ! { command -v apt-get >/dev/null && [[ $EUID == 0 ]]; }; then
        echo "aarch64_env.sh: no qemu-aarch64-static: install the package qemu-user-static" >&2
        exit 1
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends qemu-user-static >/dev/null
fi
rm -rf "$out"
mkdir -p "$out"/{apt/lists/partial,apt/archives/partial,root,site,wheels}

# An apt of its own, for arm64, that knows no installed package: a download of everything Python needs.
touch "$out/apt/status"
apt=(apt-get -qq -y -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
    -o "Dir::State::status=$out/apt/status" -o "Dir::State::lists=$out/apt/lists" -o "Dir::Cache=$out/apt"
    -o "Dir::Cache::archives=$out/apt/archives" -o Acquire::Languages=none)
"${apt[@]}" update
"${apt[@]}" install --no-install-recommends --download-only python3 libstdc++6 libgomp1 >/dev/null
for package in "$out"/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$out/root" --no-same-owner
done
rm -rf "$out/apt"
version=$(basename "$(readlink -f "$out/root/usr/bin/python3")")
version=${version#python}

# What a kit's device gets: the real aarch64 wheels, pinned by their digests, and this checkout's own code.
PYTHONPATH=$here "$python" - "$version" "$out" <<'FETCH'
import sys
from pathlib import Path

from duomem.core.errors import UserError
from duomem.deploy.wheels import PLATFORMS, fetch_wheels
from duomem.device.install import unpack_wheel

version, out = sys.argv[1], Path(sys.argv[2])
try:
    for wheel in fetch_wheels(PLATFORMS["aarch64"], version, out / "wheels"):
        unpack_wheel(wheel, out / "site")
except UserError as e:
    sys.exit(f"aarch64_env.sh: {e}")
FETCH
rm -f "$out"/site/tvm/lib*/libtvm_compiler*.so "$out"/site/tvm/libtvm_compiler*.so
ln -s "$here/duomem" "$out/site/duomem"

cat >"$out/python" <<'WRAPPER'
#!/usr/bin/env bash
# AArch64 Python under qemu: python [-cpu MODEL] ARGUMENTS...
here=$(cd "$(dirname "$0")" && pwd)
cpu=max
if [[ ${1:-} == -cpu ]]; then
    cpu=$2
    shift 2
fi
export PYTHONPATH=$here/site${PYTHONPATH:+:$PYTHONPATH} PYTHONDONTWRITEBYTECODE=1 TVM_USE_RUNTIME_LIB=1
unset PYTHONHOME VIRTUAL_ENV OPENBLAS_CORETYPE
exec qemu-aarch64-static -cpu "$cpu" -L "$here/root" "$here/root/usr/bin/python3" "$@"
WRAPPER
chmod +x "$out/python"
"$out/python" -c 'import platform, numpy, tokenizers, tvm.runtime.vm, duomem.device.engine.tvm_engine
print(f"AArch64 Python {platform.python_version()}, numpy {numpy.__version__}, tvm {tvm.__version__}: ready")'
echo "$inputs" >"$out/made"
