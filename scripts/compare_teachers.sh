#!/usr/bin/env bash
# Does it matter who teaches? Three teachers play the same train games, write a pack each, and teach a student each; the
# students play valid_seen with their teacher's memories. Bounded in steps; each stage is resumed, or skipped where done.
#   scripts/compare_teachers.sh OUT BUNDLE BARE
# BUNDLE: a compiled student of this kit, which teaches over HTTP (`duomem serve`). It is asked to word its memories too, but
# a program words those played with. BARE: the compiled base model, which is only asked how much it wins. The third
# teacher is the tests' endpoint: the expert behind thoughts and bad formatting. GAMES, ITSELF_GAMES, BARE_GAMES: train
# games for the two experts, the student and the base model (400, 120, 24). STEPS: of each training (90).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?OUT} bundle=${2:?BUNDLE} bare=${3:?BARE}
games=${GAMES:-400} student=smollm2-135m
mkdir -p "$out"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

start() {  # start COMMAND...: a server, its address in $url until `stop`
    : >"$out/serve.log"  # before it starts: an address of the server before is not to be found
    "$@" >>"$out/serve.log" 2>&1 &
    server=$!
    until grep -q 'http://' "$out/serve.log"; do
        kill -0 "$server"
        sleep 1
    done
    url=$(grep -o 'http://[^ ]*/v1' "$out/serve.log")
}
serve() { start duomem serve "$1" --port 0 --keep 10 --queue 512; }  # serve BUNDLE
stop() { kill "$server" 2>/dev/null && wait "$server" || true; }
trap stop EXIT

teach() {  # teach NAME MODEL ARGUMENTS...: a language model at $url plays
    local name=$1 model=$2
    shift 2
    run duomem teach --teacher openai --endpoint "$url" --model "$model" --split train --concurrency 4 "$@" \
        --out "$out/$name.jsonl"
}

run duomem teach --split train --limit "$games" --out "$out/expert.jsonl"
run duomem pack build "$out/expert.jsonl" --name expert --out "$out/expert.dmpack"

start env PYTHONPATH=tests python -c 'import time
from fake_endpoint import FakeEndpoint
with FakeEndpoint().serving() as endpoint:
    print(endpoint.url, flush=True)
    time.sleep(1e6)'
teach talker expert-behind-thoughts --limit "$games"
stop
run duomem pack build "$out/talker.jsonl" --name talker --out "$out/talker.dmpack"

serve "$bundle"
name=$(basename "$bundle")
teach itself "$name" --style student --temperature 0.2 --tries 3 --max-answer-tokens 24 --max-steps 30 \
    --limit "${ITSELF_GAMES:-120}"
run duomem pack build "$out/itself.jsonl" --name itself --writer openai --endpoint "$url" --model "$name" \
    --out "$out/itself-in-its-words.dmpack" || echo "none of what it wrote holds against its episodes"
stop

run duomem pack build "$out/itself.jsonl" --name itself --out "$out/itself.dmpack"

for teacher in expert talker itself; do
    run duomem trajectories report "$out/$teacher.jsonl"
    run duomem train --config $student --max-steps "${STEPS:-90}" --minutes 0 --cpu-minutes 0 --seed 0 \
        --pack "$out/$teacher.dmpack" --trajectories "$out/$teacher.jsonl" --out "$out/$teacher.adapter"
    run duomem student merge --config $student --adapter "$out/$teacher.adapter" --out "$out/$teacher.merged"
    run duomem compile "$out/$teacher.merged" --target host --calibrate "$out/$teacher.jsonl" \
        --calibrate-pack "$out/$teacher.dmpack" --out "$out/$teacher.bundle"
    run duomem eval "$out/$teacher.bundle" --split valid_seen --protocol free --pack "$out/$teacher.dmpack" \
        --out "$out/$teacher-valid_seen.jsonl"
done

serve "$bare"
teach bare "$(basename "$bare")" --style action --max-answer-tokens 24 --limit "${BARE_GAMES:-24}"
stop
