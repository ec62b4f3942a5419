#!/usr/bin/env bash
# The main job, top to bottom: games, teacher, memory pack, student, compiled engine, agent.
#   scripts/demo.sh          starts from the shipped adapter and pack
#   scripts/demo.sh --full   makes the pack from this run's teacher and trains the adapter too
# Plays the games of $ALFWORLD_DATA if it is set, else generated ones. Everything lands in runs/; a second
# run goes on where the first stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

full=${1:-}
minutes=${DEMO_MINUTES:-8}   # training budget of --full
games=${DEMO_GAMES:-24}      # games a row of the table
student=smollm2-135m
stages=()

stage() {  # stage NAME COMMAND...: run it, say what it is, keep its seconds
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s\n$ %s\n' "$name" "$*"
    "$@"
    stages+=("$((SECONDS - start)) $name")
}

if [[ -n ${ALFWORLD_DATA:-} ]]; then
    source=real
else
    source=generated
    stage "games: generate" duomem games generate --out runs/games --seed 0 --train 1200 --seen 60 --unseen 60
fi
out=runs/demo-$source
mkdir -p "$out"

train=$out/train.jsonl
stage "teacher: expert plays train games" duomem teach --split train --out "$train"
stage "teacher: expert plays the test games" duomem teach --split valid_seen --out "$out/valid_seen.jsonl"

if [[ $full == --full ]]; then
    pack=$out/expert.dmpack adapter=$out/adapter
    stage "pack: the teacher's memories" duomem pack build "$train" --out "$pack"
    stage "teacher: expert recovers from mistakes" duomem teach --stumbles 0.08 --out "$out/stumbles.jsonl"
    stage "teacher: made-up tasks that only a memory tells" duomem teach --invented 1500 --stumbles 0.06 \
        --out "$out/invented.jsonl"
    stage "pack: memories of the made-up tasks" duomem pack build "$out/invented.jsonl" --out "$out/invented.dmpack"
    stage "student: train LoRA, $minutes minutes" duomem train --config $student --minutes "$minutes" \
        --trajectories "$out/stumbles.jsonl" "$out/invented.jsonl" --pack "$pack" "$out/invented.dmpack" --out "$adapter"
    out=$out/full
else
    pack=shipped/packs/alfworld-expert.dmpack adapter=shipped/students/$student
    stage "pack: verify the shipped one" duomem pack show "$pack"
    out=$out/shipped
fi

stage "student: base model" duomem base --config $student
base=$(duomem base --config $student)
stage "student: merge LoRA" duomem merge --config $student --adapter "$adapter" --out "$out/merged"
compile=(duomem compile --target host --quant q4f32_1 --calibrate "$train" --calibrate-pack "$pack")
stage "compile: base, q4" "${compile[@]}" "$base" --min-agreement 0 --out "$out/bundle-base"
stage "compile: DuoMem, q4" "${compile[@]}" "$out/merged" --out "$out/bundle"

rows=()
evaluate() {  # evaluate LABEL FILE ARGUMENTS...: one row of the table
    local label=$1 file=$out/$2.jsonl
    shift 2
    stage "eval: $label" duomem eval "$@" --limit "$games" --out "$file"
    rows+=("$label=$file")
}
for protocol in constrained free; do
    # Passing over commands in vain takes the bare model, which writes little else, up to a minute and a half a game.
    evaluate "base, no memory, $protocol" "base-$protocol-$games" "$out/bundle-base" --protocol $protocol --no-tabu
    evaluate "DuoMem (LoRA + teacher memory), $protocol" "duomem-$protocol-$games" "$out/bundle" \
        --pack "$pack" --protocol $protocol
done

stage "play: one episode" duomem play "$out/bundle" --pack "$pack" --game 2 --watch

printf '\n== %s valid_seen games (%s)\n' "$games" "$source"
duomem report "${rows[@]}"
printf '\n== where the time went: %s s\n' "$SECONDS"
for entry in "${stages[@]}"; do
    printf '%6d s %4d %%  %s\n' "${entry%% *}" $((100 * ${entry%% *} / (SECONDS > 0 ? SECONDS : 1))) "${entry#* }"
done
