# Every task of Pairplay, one word each; `make` alone lists them.

PYTHON ?= python3
# Where torch comes from besides pip's own index: auto, a URL, or nothing. See scripts/setup.sh.
TORCH_INDEX ?= auto
# Options of the command: make train ARGS="--env-id CartPole-v1 --teacher oracle"
ARGS ?=
export PYTHON TORCH_INDEX CHROMIUM

BIN := .venv/bin
# Newer than what it was made from: then there is nothing to install.
READY := .venv/.ready
# The same for what only the benchmarks need.
STATISTICS := .venv/.bench

.DEFAULT_GOAL := help
.PHONY: help setup train test check format bench clean

help:  ## List these tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\n  make train ARGS="--env-id CartPole-v1 --teacher oracle"   passes options on\n'
	@printf '  make setup PYTHON=python3.13                              chooses the interpreter\n'
	@printf '  make setup TORCH_INDEX=URL                                takes torch from another index (empty: only pip'"'"'s own)\n'

setup: $(READY)  ## Create .venv and install everything into it, once

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh python
	@touch $@

train: $(READY)  ## Teach an agent to play Enduro: open the page it prints and compare clips
	@$(BIN)/pairplay train $(ARGS)

test: $(READY) $(STATISTICS)  ## Run the whole test suite, Chromium included (ARGS="-k name" for a part of it)
	@scripts/setup.sh browser
	@$(BIN)/pytest $(ARGS)

check: $(READY)  ## Formatting, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(READY)  ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# rliable and what it needs: only for the statistics of benchmarks and their tests, so not part of the set-up.
$(STATISTICS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
		--constraint constraints.txt --editable '.[bench]'
	@touch $@

bench: $(READY) $(STATISTICS)  ## Measure the speed beside other libraries, 20 minutes; names the longer benchmarks
	@$(BIN)/pairplay bench $(ARGS)
	@printf '\nLonger ones, each of which goes on where it was interrupted (benchmarks/README.md):\n'
	@printf '  $(BIN)/python benchmarks/%s.py --jobs 2\n' \
		enduro_quick enduro_long mujoco_tasks ablations imperfect_teachers imitation_peer
	@printf '  $(BIN)/python benchmarks/costs.py\n'

clean:  ## Remove the virtual environment and all caches; runs/ stays
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
