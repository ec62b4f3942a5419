#!/usr/bin/env bash
# A device's folder in dist/, to copy there and install offline: student, kernels, memories, games, runtime.
#   scripts/device_bundle.sh host|phone|jetson|mac
# The student is the shipped adapter merged into its base model, or $STUDENT, a merged folder. $PYTHONS: CPython
# versions to bring wheels for, if not those that duomem kit make brings by itself. Everything lands in runs/ and dist/; a
# second run does what is missing. Where the GPU's library cannot be made, the bundle is for the CPU alone, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
student=smollm2-135m
pack=shipped/packs/alfworld-expert.dmpack
case $name in  # gpu: a target with the GPU's library beside the CPU's, or none; cpu: the target without it
    host)
        case $(uname -sm) in
            "Darwin arm64") gpu='' cpu=macos platform=macos_arm64 ;;
            *) gpu='' cpu=$(uname -m) platform=$(uname -m) ;;
        esac ;;
    phone) gpu=phone cpu=aarch64 platform=aarch64 ;;
    jetson) gpu=jetson cpu=aarch64 platform=aarch64 ;;
    mac) gpu=metal cpu=macos platform=macos_arm64 ;;
    *) echo "device_bundle.sh: $name: give host, phone, jetson or mac" >&2; exit 2 ;;
esac

games=runs/device/games train=runs/device/train.jsonl
duomem games generate --out runs/device/games --seed 0 --train 240 --seen 12 --unseen 6
duomem teach --games "$games" --split train --out "$train"
merged=${STUDENT:-runs/device/merged}
if [[ -z ${STUDENT:-} ]]; then
    duomem student base --config $student
    duomem student merge --config $student --adapter "shipped/students/$student" --out "$merged"
fi
# Libraries for AArch64 are run on the emulated CPUs of scripts/aarch64_env.sh where it has been used.
if [[ -x runs/aarch64/python ]]; then
    export DUOMEM_AARCH64_PYTHON=${DUOMEM_AARCH64_PYTHON:-$PWD/runs/aarch64/python}
fi
calibrate=(--calibrate "$train" --calibrate-pack "$pack")
bundle=runs/device/bundle-$name
wheels=()
if [[ -n $gpu ]] && duomem compile "$merged" --target "$gpu" --quant q4f32_1 "${calibrate[@]}" --out "$bundle-gpu"; then
    bundle+=-gpu
    if [[ $name == phone ]]; then
        if scripts/vulkan_env.sh --wheel "$platform"; then
            wheels=(--wheel dist/wheels/duomem_vulkan-*_"$platform".whl)
        else
            echo "device_bundle.sh: $name: no Vulkan plugin could be built: this bundle plays on the CPU alone"
        fi
    fi
else
    [[ -z $gpu ]] || echo "device_bundle.sh: $name: no GPU library could be made: this bundle is for the CPU alone"
    duomem compile "$merged" --target "$cpu" --quant q4f32_1 "${calibrate[@]}" --out "$bundle"
fi
versions=()
for version in ${PYTHONS:-}; do
    versions+=(--python "$version")
done
duomem kit make --bundle "$bundle" --platform "$platform" --pack "$pack" --games "$games" \
    ${versions[@]+"${versions[@]}"} ${wheels[@]+"${wheels[@]}"} --out "dist/$name"
if [[ $name == phone ]]; then
    duomem export mlc "$merged" --quant q4f32_1 "${calibrate[@]}" --out dist/phone-mlc
fi
