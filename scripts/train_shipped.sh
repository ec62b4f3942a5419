#!/usr/bin/env bash
# Everything that makes the shipped student and pack, from the games to the scores. Bounded in steps, so that another
# machine gets the same data and the same number of updates. Each stage is resumed, or skipped where it is done.
#   scripts/train_shipped.sh OUT         from the base model
#   scripts/train_shipped.sh OUT START   from the adapter START: the last of the three trainings alone
# Needs ALFWorld's games with people's sentences (traj_data.json) in $ALFWORLD_DATA. SEED: of all trainings (0).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?scripts/train_shipped.sh OUT [START]} start=${2:-} seed=${SEED:-0}
student=smollm2-135m
mkdir -p "$out"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# Data: the expert's episodes, told in the games' words and in people's, and synthetic tasks that only a memory tells.
run duomem teach --split train --out "$out/train.jsonl"
run duomem teach --split train --relabel "$out/train.jsonl" --goals human --annotation all --out "$out/told.jsonl"
run duomem teach --split train --goals human --annotation all --noise-rate 0.05 --misread-rate 0.25 --seed 11 \
    --out "$out/human.jsonl"
run duomem teach --split train --synthetic 800 --noise-rate 0.05 --seed 13 --out "$out/synthetic.jsonl"

# Packs: the shipped one, and the synthetic tasks'.
pack=$out/alfworld-expert.dmpack
run duomem pack build "$out/told.jsonl" --name alfworld-expert --version 1.0.0 \
    --licence Apache-2.0 --upstream-licence MIT --out "$pack"
run duomem pack build "$out/synthetic.jsonl" --name synthetic --out "$out/synthetic.dmpack"

train() {  # train NAME STEPS ARGUMENTS...: one training, the packs in context
    local name=$1 steps=$2
    shift 2
    run duomem train --config $student --max-steps "$steps" --minutes 0 --cpu-minutes 0 --seed "$seed" \
        --pack "$pack" --pack "$out/synthetic.dmpack" "$@" --out "$out/$name"
}

compile() {  # compile NAME: the adapter NAME as the bundle NAME.bundle
    run duomem student merge --config $student --adapter "$out/$1" --out "$out/$1.merged"
    run duomem compile "$out/$1.merged" --target host --calibrate "$out/told.jsonl" --calibrate-pack "$pack" \
        --held-out-games "$ALFWORLD_DATA" --held-out-pack "$pack" --out "$out/$1.bundle"
}

if [[ -z $start ]]; then
    # First the games' own words, then what the student itself does wrong with them (DAgger).
    run duomem teach --split train --noise-rate 0.08 --out "$out/noise.jsonl"
    train first 1334 --trajectories "$out/noise.jsonl" --trajectories "$out/synthetic.jsonl"
    compile first
    run duomem teach --student "$out/first.bundle" --pack "$pack" --limit 1000 --seed 2 --out "$out/dagger.jsonl"
    train second 220 --learning-rate 5e-4 --start "$out/first" --trajectories "$out/dagger.jsonl" \
        --trajectories "$out/synthetic.jsonl"
    start=$out/second
fi
train adapter 640 --learning-rate 8e-4 --start "$start" --trajectories "$out/train.jsonl" \
    --trajectories "$out/human.jsonl" --trajectories "$out/synthetic.jsonl"
compile adapter

evaluate() {  # evaluate GOALS ARGUMENTS...: the scores on valid_seen, both protocols
    local goals=$1 protocol
    shift
    for protocol in free constrained; do
        run duomem eval "$out/adapter.bundle" --split valid_seen --goals "$goals" "$@" --protocol $protocol \
            --pack "$pack" --out "$out/valid_seen-$goals-$protocol.jsonl"
    done
}
evaluate human --annotation all
evaluate template
run duomem pack card "$pack" "$out"/valid_seen-*.jsonl --out "$out/released.dmpack"
