#!/usr/bin/env bash
# On the newest supported Python here that the venv is not of: installs the wheel, runs the tests that need no torch, and
# plays with a bundle compiled in the venv, step for step as the venv does. Training and compiling are not tried there:
# that would install torch once more.
#   scripts/check_other_python.sh       exit 0 with one line where there is no other Python
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH ALFWORLD_DATA  # pip would take a checkout on the path for installed
checkout=$PWD
own=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

other() {  # the program of the newest other supported Python, or nothing
    local version candidate
    for version in 3.14 3.13 3.12 3.11 3.10; do
        [[ $version != "$own" ]] || continue
        for candidate in "$(command -v "python$version" || true)" "$HOME"/.pyenv/versions/"$version".*/bin/python; do
            if [[ -x $candidate ]] && "$candidate" -c "import ensurepip, venv" 2>/dev/null; then
                echo "$candidate"
                return
            fi
        done
    done
}
python=$(other)
if [[ -z $python ]]; then
    echo "check_other_python.sh: no Python from 3.10 to 3.14 beside $own: nothing tried"
    exit
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

.venv/bin/python -m build --quiet --wheel --outdir "$place/dist" .
"$python" -m venv "$place/venv"
pip=("$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt)
"${pip[@]}" "$place"/dist/duomem-*.whl pytest pytest-xdist hypothesis
"${pip[@]}" --no-deps alfworld

.venv/bin/python scripts/tiny_bundle.py "$place/bundle"
.venv/bin/duomem games generate --out "$place/games" --train 12 --seen 6 --unseen 6
play=(eval "$place/bundle" --games "$place/games" --max-steps 5 --limit 3 --jobs 1)
.venv/bin/duomem "${play[@]}" --out "$place/own.jsonl"

cd "$place"
venv/bin/duomem "${play[@]}" --out other.jsonl
venv/bin/python - own.jsonl other.jsonl <<'PYTHON'
import json
import sys

own, other = ([json.loads(line)["steps"] for line in open(path) if "steps" in json.loads(line)] for path in sys.argv[1:])
assert len(own) == 3 and own == other, "other steps than in the venv"
PYTHON
# pytest itself, not python -m pytest, which would import the checkout.
venv/bin/pytest --rootdir "$checkout" -c "$checkout/pyproject.toml" -p no:cacheprovider -n 2 --dist loadscope \
    -m "not (slow or official or qemu or ssh or vulkan)" \
    "$checkout"/tests/{core,device,memory_packs,report}
echo "check_other_python.sh: the wheel works on $("$python" --version), with a bundle compiled on $own"
