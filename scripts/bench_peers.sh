#!/usr/bin/env bash
# duomem against llama.cpp, onnxruntime-genai and OpenVINO on this machine; rewrites the table in docs/results/engine-speed.md.
#   BUNDLE=DIR MODEL=DIR scripts/bench_peers.sh   MODEL: the Hugging Face folder that BUNDLE was compiled from
# VARIANT=avx2: the avx2 library against llama.cpp built for AVX2; the others have no switch for it and take their own.
# STEPS (default "install bench table"), ENGINES, THREADS: parts of it. RUN: a command to put before each measurement.
# The peers get runs/peers-venv, llama.cpp's builds a folder each; runs/peers holds the last result of every measurement.
set -euo pipefail
cd "$(dirname "$0")/.."

bundle=${BUNDLE:?give BUNDLE=DIR, a folder made by duomem compile} model=${MODEL:?give MODEL=DIR, the folder it was compiled from}
venv=runs/peers-venv results=runs/peers variant=${VARIANT:-native}
read -ra before <<< "${RUN:-}"
case $variant in
    native) library=() flags=-DGGML_NATIVE=ON ;;
    avx2)
        library=(--library lib/cpu-x86_64-avx2.so)
        flags="-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
        ;;
    *) echo "bench_peers.sh: VARIANT=$VARIANT: give avx2, or nothing" >&2; exit 2 ;;
esac
llama_cpp=runs/peers-llama.cpp-$variant

install() {
    local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt)
    if [[ ! -e $venv/.installed ]]; then
        "${PYTHON:-python3}" -m venv "$venv"
        "${pip[@]}" -e '.[host]'
        "${pip[@]}" onnxruntime-genai==0.18.0 onnx onnx-ir openvino-genai==2026.4.1.0 diskcache
        touch "$venv/.installed"
    fi
    if [[ ! -e $llama_cpp/.installed ]]; then  # not from pip's cache: a wheel there may be built with other flags
        CMAKE_ARGS="$flags -DLLAVA_BUILD=OFF ${CMAKE_ARGS:-}" "${pip[@]}" --no-cache-dir --no-deps --upgrade \
            --target "$llama_cpp" --no-binary llama-cpp-python llama-cpp-python==0.3.36
        touch "$llama_cpp/.installed"
    fi
}

bench() {  # one process a measurement, so that each may be awaited, repeated or left out
    mkdir -p "$results"
    for engine in ${ENGINES:-llama.cpp onnxruntime-genai openvino}; do
        local given=()
        [[ $engine != onnxruntime-genai ]] || given=(--model "$model")
        for threads in ${THREADS:-1 2}; do
            PYTHONPATH=$llama_cpp${PYTHONPATH:+:$PYTHONPATH} "${before[@]}" "$venv/bin/duomem" bench "$bundle" \
                --prompt 512,32 --gen 64 --context 2048 --repetitions 3 --threads "$threads" "${library[@]}" \
                --vs "$engine" "${given[@]}" --json "$results/$variant-$engine-t$threads.json"
        done
    done
}

table() {
    "$venv/bin/python" scripts/peers_table.py docs/results/engine-speed.md "$results"/*.json
}

for step in ${STEPS:-install bench table}; do
    case $step in
        install | bench | table) "$step" ;;
        *) echo "bench_peers.sh: STEPS=$step: give some of install, bench, table" >&2; exit 2 ;;
    esac
done
