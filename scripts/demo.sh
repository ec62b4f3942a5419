#!/usr/bin/env bash
# The whole flow, top to bottom: games, teacher, memory pack, student, compiled engine, agent, result table.
#   scripts/demo.sh          starts from the shipped adapter and pack
#   scripts/demo.sh --full   builds the pack from this run's teacher and trains the adapter too
# Plays the games of $ALFWORLD_DATA if it is set, else generated ones. Everything lands in runs/demo*; a second run goes
# on where the first one stopped. DEMO_GAMES, DEMO_BASE_GAMES: games of a row; DEMO_MINUTES: training time of --full.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/loopback_catalogue.sh

games=${DEMO_GAMES:-24}
base_games=${DEMO_BASE_GAMES:-6}  # the base model loses each game only after all of its 50 steps
minutes=${DEMO_MINUTES:-8}
student=smollm2-135m
case ${1:-} in
    "") out=runs/demo train_games=240 ;;
    --full) out=runs/demo-full train_games=1200 ;;
    *) echo "demo.sh: $1: give nothing, or --full" >&2; exit 2 ;;
esac
stages=()

stage() {  # stage NAME COMMAND...: run it, say what it is, keep its seconds
    local name=$1 start=$SECONDS
    shift
    printf '\n== %s\n$ %s\n' "$name" "$*"
    "$@"
    stages+=("$((SECONDS - start)) $name")
}

if [[ -n ${ALFWORLD_DATA:-} ]]; then
    source="official valid_seen" out+=-official root=$ALFWORLD_DATA
else
    source="generated valid_seen" root=$out/games
    stage "games: generate" duomem games generate --out "$root" --seed 0 --train $train_games --seen 60 --unseen 60
fi
mkdir -p "$out"

train=$out/train.jsonl
stage "teacher: the expert plays train games" duomem teach --games "$root" --split train --out "$train"
stage "teacher: the expert plays the test games" \
    duomem teach --games "$root" --split valid_seen --limit "$games" --out "$out/teacher-$games.jsonl"

if [[ ${1:-} == --full ]]; then
    pack=$out/expert.dmpack adapter=$out/adapter
    noise=$out/noise.jsonl synthetic=$out/synthetic
    stage "pack: the teacher's memories" duomem pack build "$train" --out "$pack"
    stage "teacher: the expert recovers from mistakes" \
        duomem teach --games "$root" --noise-rate 0.08 --out "$noise"
    stage "teacher: synthetic tasks that only a memory tells" \
        duomem teach --games "$root" --synthetic 1500 --noise-rate 0.06 --out "$synthetic.jsonl"
    stage "pack: memories of the synthetic tasks" duomem pack build "$synthetic.jsonl" --out "$synthetic.dmpack"
    stage "student: train LoRA, $minutes minutes" duomem train --config $student --minutes "$minutes" \
        --trajectories "$noise" --trajectories "$synthetic.jsonl" --pack "$pack" --pack "$synthetic.dmpack" \
        --out "$adapter"
else
    pack=alfworld-expert adapter=shipped/students/$student
    STAGE=stage publish_and_pull shipped/packs/alfworld-expert.dmpack $pack "$PWD/$out/packs"
    stage "pack: what it says of itself" duomem pack show $pack
fi

stage "student: base model" duomem student base --config $student
base=$(duomem student base --config $student)
stage "student: merge LoRA" duomem student merge --config $student --adapter "$adapter" --out "$out/merged"
# The base model is rounded plainly and needs no agreement: it loses in float32 too, and calibration takes minutes.
stage "compile: base model, 4 bits" \
    duomem compile "$base" --target host --quant q4f32_1 --min-agreement 0 --out "$out/bundle-base"
stage "compile: DuoMem student, 4 bits, calibrated" duomem compile "$out/merged" --target host --quant q4f32_1 \
    --calibrate "$train" --calibrate-pack "$pack" --out "$out/bundle"

rows=()
evaluate() {  # evaluate NAME TAUGHT FILE ARGUMENTS...: play, and one row of the table
    local name=$1 taught=$2 file=$3
    shift 3
    stage "eval: $name" duomem eval "$@" --games "$root" --out "$out/$file"
    row "$name" "$taught" "$file"
}
row() {  # row NAME TAUGHT FILE: one row of the table
    rows+=("[[condition]]"$'\n'"name = \"$1\""$'\n'"taught = \"$2\""$'\n'"episodes = [\"$3\"]"$'\n')
}
evaluate "base model, no memory, constrained" nobody "base-$base_games.jsonl" \
    "$out/bundle-base" --limit "$base_games"
for protocol in constrained free; do
    evaluate "DuoMem: LoRA + teacher memory, $protocol" expert "duomem-$protocol-$games.jsonl" \
        "$out/bundle" --pack "$pack" --protocol $protocol --limit "$games"
done
row "teacher: searching expert" - "teacher-$games.jsonl"

stage "play: one episode" duomem play "$out/bundle" --pack "$pack" --games "$root" --game 2 --watch

printf '%s\n' "title = \"$source games, 50 steps\"" "${rows[@]}" >"$out/table.toml"
(cd "$out" && duomem report table.toml --out report >report.log) || { cat "$out/report.log"; exit 1; }

printf '\n== where the time went: %d min %d s\n' $((SECONDS / 60)) $((SECONDS % 60))
for entry in "${stages[@]}"; do
    printf '%6d s  %s\n' "${entry%% *}" "${entry#* }"
done
printf '\n== %s games, at most 50 steps; constrained and free: docs/concepts.md\n' "$source"
awk '/^\|/ { print; table = 1; next } table { exit }' "$out/report/table.md"
printf '\n== what lies where\n'
printf '%-40s %s\n' "$out/bundle" "the compiled student" "$pack" "the memories it plays with" \
    "$out/report/table.md" "the table with its tests, versions and digests" "$out/*.jsonl" "every episode, step by step"
cat <<END

== what to try next
${DUOMEM_HOME:+export DUOMEM_HOME=$DUOMEM_HOME  # where the pack is installed
}duomem play $out/bundle --pack $pack --games $root --game 5 --watch
duomem pack recall $pack "put a clean mug in the coffeemachine."
duomem bench $out/bundle
make host          # a folder with student, memories, games and runtime, to install offline
make demo-full     # trains the adapter too
END
