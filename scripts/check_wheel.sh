#!/usr/bin/env bash
# Builds the source distribution and the wheel, installs the wheel with the pinned versions into a fresh venv outside
# the checkout, and runs first commands there: games, teacher, pack; then a pack from a catalogue, played with.
#   scripts/check_wheel.sh [PYTHON]     PYTHON: what the fresh venv is made with (python3)
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH ALFWORLD_DATA  # pip would take a checkout on the path for installed
checkout=$PWD python=${1:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

.venv/bin/python -m build --quiet --outdir "$place/dist" .
"$python" -m venv "$place/venv"
pip=("$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$checkout/constraints.txt")
"${pip[@]}" "$place"/dist/duomem-*.whl
"${pip[@]}" --no-deps alfworld

.venv/bin/python scripts/tiny_bundle.py "$place/bundle"

cd "$place"
export PATH=$place/venv/bin:$PATH
python - "$checkout" <<'PYTHON'
import sys
from pathlib import Path

import duomem

assert not Path(duomem.__file__).is_relative_to(sys.argv[1]), duomem.__file__
PYTHON
duomem --version
duomem --help >/dev/null
duomem doctor
duomem games generate --out games --train 12 --seen 6 --unseen 6
duomem teach --games games --out train.jsonl
duomem pack build train.jsonl --out expert.dmpack
duomem pack show expert.dmpack

# With the extra: a pack from a catalogue on loopback, played with by its name.
"${pip[@]}" "$(echo "$place"/dist/duomem-*.whl)[packs]"
. "$checkout/scripts/loopback_catalogue.sh"
publish_and_pull expert.dmpack expert "$place/packs"
duomem pack list
duomem play bundle --pack expert --games games --max-steps 3

# With the extra: the bundle served, and asked.
"${pip[@]}" "$(echo "$place"/dist/duomem-*.whl)[serve]"
duomem serve bundle --port 0 >serve.log &
server=$!
trap 'kill $server 2>/dev/null || true; rm -rf "$place"' EXIT
until grep -q http:// serve.log; do kill -0 $server; sleep 1; done
python - "$(grep -o 'http://[^ ]*/v1' serve.log)" <<'PYTHON'
import json
import sys
from urllib.request import Request, urlopen

asked = json.dumps({"prompt": "look", "max_tokens": 3, "temperature": 0}).encode()
with urlopen(Request(f"{sys.argv[1]}/completions", asked, {"Content-Type": "application/json"})) as answer:
    assert json.load(answer)["usage"]["completion_tokens"] == 3
PYTHON
kill $server && wait $server
echo "check_wheel.sh: the wheel works on $(python --version)"
