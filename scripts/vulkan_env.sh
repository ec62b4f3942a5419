#!/usr/bin/env bash
# The plugin duomem-vulkan, built from plugins/vulkan.
#   scripts/vulkan_env.sh                  for this machine: wheel, installed into .venv; a software driver to test on
#   scripts/vulkan_env.sh --wheel [ARCH]   the wheel alone, x86_64 or aarch64 (this machine's), into dist/wheels
# A second run does nothing. Packages come from this machine's own apt sources and pip index; without root, those
# that are missing are named. No apt: the driver is up to you.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
[[ -x .venv/bin/python ]] && python=.venv/bin/python
pip=("$python" -m pip --disable-pip-version-check)

install=1 machine=$(uname -m)
if [[ ${1:-} == --wheel ]]; then
    install='' arch=${2:-$machine}
elif (($# == 0)); then
    arch=$machine
else
    echo "vulkan_env.sh: $1: give nothing, or --wheel and x86_64 or aarch64" >&2
    exit 2
fi
declare -A debian=([aarch64]=arm64 [x86_64]=amd64)
[[ -n ${debian[$arch]:-} ]] || { echo "vulkan_env.sh: $arch: there is no plugin for it: x86_64, aarch64" >&2; exit 2; }

apt_install() {  # Debian packages; true if all are there in the end
    dpkg -s "$@" >/dev/null 2>&1 && return
    [[ $EUID == 0 ]] && apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

wheels=dist/wheels
inputs=$({ cat "$0" constraints.txt; find plugins/vulkan -type f ! -path '*/__pycache__/*' ! -path '*/build/*' \
    ! -path '*.egg-info/*' ! -name '*.so' -print0 | sort -z | xargs -0 cat; } | sha256sum | cut -d' ' -f1)
made=$wheels/.$arch.made
if [[ ! -f $made || $(cat "$made") != "$inputs" ]]; then
    pins=$(sed -n "s/^WHEELS = (\(.*\))$/\1/p" plugins/vulkan/build_plugin.py | tr -d '",')
    from=()
    "$python" -c 'import ziglang' 2>/dev/null || "${pip[@]}" install --quiet -c constraints.txt ziglang
    if [[ $arch == "$machine" ]]; then
        "${pip[@]}" install --quiet --no-deps -c constraints.txt 'setuptools>=77' $pins
        apt_install g++ || command -v g++ >/dev/null || { echo "vulkan_env.sh: install g++" >&2; exit 1; }
    else
        from=(--wheels "runs/wheels/$arch")
        for pin in $pins; do
            name=${pin%%==*}
            compgen -G "runs/wheels/$arch/${name//-/_}-${pin##*==}-*.whl" >/dev/null ||
                "${pip[@]}" download --quiet --no-deps --only-binary=:all: --python-version 3.11 --dest "${from[1]}" \
                    --platform "manylinux_2_28_$arch" --platform "manylinux_2_24_$arch" "$pin"
        done
        headers=$(apt-cache pkgnames libstdc++- | grep -x "libstdc++-[0-9]*-dev-${debian[$arch]}-cross" | sort -V | tail -1) ||
            headers=libstdc++-12-dev-${debian[$arch]}-cross
        apt_install "$headers" ||
            { echo "vulkan_env.sh: needs the Debian package $headers: install it" >&2; exit 1; }
    fi
    mkdir -p "$wheels"
    rm -f "$wheels"/duomem_vulkan-*_"$arch".whl
    "$python" plugins/vulkan/build_plugin.py --arch "$arch" "${from[@]}" --out "$wheels"
    echo "$inputs" >"$made"
fi
wheel=$(ls "$wheels"/duomem_vulkan-*_"$arch".whl)
[[ -n $install ]] || { echo "$wheel: ready"; exit; }

"${pip[@]}" install --quiet --no-deps --force-reinstall "$wheel"
if command -v apt-get >/dev/null; then
    apt_install libvulkan1 mesa-vulkan-drivers || echo "vulkan_env.sh: no Vulkan driver: install mesa-vulkan-drivers" >&2
fi
"$python" -c '
import tvm, duomem_vulkan
names = [gpu["name"] for gpu in duomem_vulkan.gpus()]
print("duomem-vulkan: ready; GPUs:", ", ".join(names) or "none")'
