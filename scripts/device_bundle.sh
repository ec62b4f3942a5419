#!/usr/bin/env bash
# A device's folder in dist/, to copy there and install offline: student, kernels, memories, games, runtime.
#   scripts/device_bundle.sh host|phone|jetson|mac
# The student is the shipped adapter merged into its base model, or $STUDENT, a merged folder. $PYTHONS: CPython
# versions on the device. Everything lands in runs/ and dist/; a second run does what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
student=smollm2-135m
pack=shipped/packs/alfworld-expert.dmpack
pythons=${PYTHONS:-3.11}
case $name in  # gpu: a target with the GPU's library, beside the CPU's where it has one; cpu: what remains without it
    host) gpu='' cpu=$(uname -m) platform=$(uname -m) ;;
    phone) gpu=phone cpu=aarch64 platform=aarch64 ;;
    jetson) gpu=jetson cpu=aarch64 platform=aarch64 pythons=${PYTHONS:-3.12} ;;
    mac) gpu=metal cpu='' platform=macos_arm64 ;;
    *) echo "device_bundle.sh: $name: give host, phone, jetson or mac" >&2; exit 2 ;;
esac

games=runs/device/games train=runs/device/train.jsonl
duomem games generate --out runs/device/games --seed 0 --train 240 --seen 12 --unseen 6
duomem teach --games "$games" --split train --out "$train"
merged=${STUDENT:-runs/device/merged}
if [[ -z ${STUDENT:-} ]]; then
    duomem base --config $student
    duomem merge --config $student --adapter "shipped/students/$student" --out "$merged"
fi
calibrate=(--calibrate "$train" --calibrate-pack "$pack")
bundle=runs/device/bundle-$name
wheels=()
if [[ -n $gpu && -f configs/targets/$gpu.toml ]] &&
    duomem compile "$merged" --target "$gpu" --quant q4f32_1 "${calibrate[@]}" --out "$bundle-gpu"; then
    bundle+=-gpu
    for wheel in dist/wheels/duomem_vulkan-*_"$platform".whl; do  # made by device/vulkan/build_plugin.py
        [[ ! -f $wheel ]] || wheels+=(--wheel "$wheel")
    done
elif [[ -n $cpu ]]; then
    [[ -z $gpu ]] || echo "device_bundle.sh: $name: no GPU library could be made: this bundle is for the CPU alone"
    duomem compile "$merged" --target "$cpu" --quant q4f32_1 "${calibrate[@]}" --out "$bundle"
else
    echo "device_bundle.sh: $name: its library could not be made, and there is no CPU target for it" >&2
    exit 1
fi
versions=()
for version in $pythons; do
    versions+=(--python "$version")
done
duomem kit --bundle "$bundle" --platform "$platform" --pack "$pack" --games "$games" \
    "${versions[@]}" "${wheels[@]}" --out "dist/$name"
if [[ $name == phone ]]; then
    duomem compile "$merged" --format mlc --quant q4f32_1 "${calibrate[@]}" --out dist/phone-mlc
fi
