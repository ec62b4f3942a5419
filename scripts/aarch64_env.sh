#!/usr/bin/env bash
# An AArch64 Debian with Python and duomem's runtime, run by qemu on this machine: for checks, not for speed.
#   scripts/aarch64_env.sh [DIR]            make it in DIR (runs/aarch64); a second run does nothing
#   DIR/python [-cpu MODEL] ARGUMENTS...    run its Python, on an emulated CPU such as cortex-a53 or max
# Debian packages come from this machine's own apt sources, wheels from its own pip index. Maintainer
# scripts are not run, so no root is needed but for installing qemu-user-static where it is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${1:-$here/runs/aarch64}")
pip=("${PYTHON:-python3}" -m pip --disable-pip-version-check)
[[ -x $here/.venv/bin/python ]] && pip[0]=$here/.venv/bin/python
inputs=$(cat "$0" "$here/constraints.txt" "$here/pyproject.toml" | sha256sum | cut -d' ' -f1)

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

# The base install of duomem: the real aarch64 wheels at the pinned versions, and this checkout's own code.
"${pip[@]}" download --quiet --dest "$out/wheels" --only-binary=:all: --python-version "$version" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    -c "$here/constraints.txt" apache-tvm apache-tvm-ffi numpy tokenizers tqdm click
"${pip[@]}" install --quiet --no-deps --target "$out/site" --only-binary=:all: --python-version "$version" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    "$out"/wheels/*.whl
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
