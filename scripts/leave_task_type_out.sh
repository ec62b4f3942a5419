#!/usr/bin/env bash
# Can a pack teach a task type that the student was never trained on? One student for each task type: it never sees a
# task of that type, a memory of one, or the type's verb. Then it plays that type on valid_seen with the whole pack and
# without. Bounded in steps; each stage is resumed, or skipped where it is done.
#   scripts/leave_task_type_out.sh OUT TOLD TEMPLATE PACK [TASK_TYPE...]
# TOLD: the expert's train episodes in people's words (`duomem teach --relabel`). TEMPLATE: the same in the games' words,
# with noise. PACK: the whole pack, built from TOLD.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?OUT} told=${2:?TOLD} template=${3:?TEMPLATE} pack=${4:?PACK}
shift 4
types=("$@")
((${#types[@]})) || types=(look_at_obj_in_light pick_two_obj_and_place pick_heat_then_place_in_recep
    pick_clean_then_place_in_recep pick_cool_then_place_in_recep pick_and_place_simple)
student=smollm2-135m
mkdir -p "$out"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

train() {  # train NAME STEPS ARGUMENTS...
    local name=$1 steps=$2
    shift 2
    run duomem train --config $student --max-steps "$steps" --minutes 0 --cpu-minutes 0 --pack "$out/synthetic.dmpack" \
        "$@" --out "$out/$name"
}

without() {  # without TASK_TYPE FILE OUT: the episodes of FILE that are not of the type and never use its verb
    python - "$@" <<'PYTHON'
import json
import sys

task_type, source, out = sys.argv[1:]
verbs = {"look_at_obj_in_light": "use", "pick_heat_then_place_in_recep": "heat",
         "pick_clean_then_place_in_recep": "clean", "pick_cool_then_place_in_recep": "cool"}
verb = f"{verbs.get(task_type, '-')} "
with open(source, encoding="utf-8") as lines, open(out, "w", encoding="utf-8") as kept:
    for line in lines:
        episode = json.loads(line)
        if episode["task_type"] != task_type and not any(s["action"].startswith(verb) for s in episode["steps"]):
            kept.write(line)
PYTHON
}

# What all of them share: synthetic tasks alone, which only a memory tells.
[[ -f $out/synthetic.jsonl ]] || run duomem teach --split train --synthetic 3000 --noise-rate 0.05 --seed 17 \
    --out "$out/synthetic.jsonl"
[[ -f $out/synthetic.dmpack ]] || run duomem pack build "$out/synthetic.jsonl" --name synthetic --out "$out/synthetic.dmpack"
train shared "${SHARED_STEPS:-180}" --trajectories "$out/synthetic.jsonl"

for task_type in "${types[@]}"; do
    part=$out/$task_type
    mkdir -p "$part"
    for name in told template; do
        [[ -f $part/$name.jsonl ]] || without "$task_type" "${!name}" "$part/$name.jsonl"
    done
    [[ -f $part/others.dmpack ]] || run duomem pack build "$part/told.jsonl" --name others --out "$part/others.dmpack"
    train "$task_type/adapter" "${STEPS:-60}" --learning-rate 1e-3 --start "$out/shared" --pack "$part/others.dmpack" \
        --trajectories "$part/told.jsonl" --trajectories "$part/template.jsonl" --trajectories "$out/synthetic.jsonl"
    run duomem student merge --config $student --adapter "$part/adapter" --out "$part/merged"
    run duomem compile "$part/merged" --target host --calibrate "$part/told.jsonl" --calibrate-pack "$part/others.dmpack" \
        --out "$part/bundle"
done

evaluate() {  # evaluate TASK_TYPE NAME ARGUMENTS...: one row on valid_seen
    local task_type=$1 name=$2
    shift 2
    run duomem eval "$out/$task_type/bundle" --split valid_seen --task-type "$task_type" "$@" --out "$out/$task_type/$name.jsonl"
}
for task_type in "${types[@]}"; do
    for protocol in free constrained; do
        evaluate "$task_type" human-$protocol --protocol $protocol --goals human --annotation all --pack "$pack"
        evaluate "$task_type" template-$protocol --protocol $protocol --pack "$pack"
        evaluate "$task_type" human0-no-pack-$protocol --protocol $protocol --goals human
        evaluate "$task_type" template-no-pack-$protocol --protocol $protocol
    done
done
