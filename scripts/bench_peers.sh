#!/usr/bin/env bash
# duomem against llama.cpp and onnxruntime-genai on this machine; rewrites the table in docs/results/engine-speed.md.
#   BUNDLE=DIR MODEL=DIR scripts/bench_peers.sh   MODEL: the Hugging Face folder that BUNDLE was compiled from
# VARIANT=avx2: duomem's avx2 library against a llama.cpp built for AVX2 (onnxruntime picks its own instructions).
# THREADS: default 1,2. The peers get a venv of their own, runs/peers-venv or runs/peers-venv-avx2.
set -euo pipefail
cd "$(dirname "$0")/.."

bundle=${BUNDLE:?give BUNDLE=DIR, a folder made by duomem compile} model=${MODEL:?give MODEL=DIR, the folder it was compiled from}
document=docs/results/engine-speed.md
case ${VARIANT:-} in
    "") venv=runs/peers-venv library=() flags=${CMAKE_ARGS:-} ;;
    avx2)
        venv=runs/peers-venv-avx2 library=(--library lib/cpu-x86_64-avx2.so)
        flags="-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
        ;;
    *) echo "bench_peers.sh: VARIANT=$VARIANT: give avx2, or nothing" >&2; exit 2 ;;
esac

if [[ ! -e $venv/.installed ]]; then
    "${PYTHON:-python3}" -m venv "$venv"
    pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt)
    "${pip[@]}" -e '.[host]'
    "${pip[@]}" onnxruntime-genai==0.18.0 onnx onnx-ir
    CMAKE_ARGS=$flags "${pip[@]}" --no-binary llama-cpp-python llama-cpp-python==0.3.36 gguf
    touch "$venv/.installed"
fi

result=runs/peers${VARIANT:+-$VARIANT}.json
"$venv/bin/duomem" bench "$bundle" --prompt 512,32 --threads "${THREADS:-1,2}" "${library[@]}" \
    --vs llama.cpp,onnxruntime-genai --model "$model" --json "$result"
results=()
for file in runs/peers.json runs/peers-avx2.json; do
    [[ ! -e $file ]] || results+=("$file")
done
"$venv/bin/python" scripts/peers_table.py "$document" "${results[@]}"
