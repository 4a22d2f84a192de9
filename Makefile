# `make` alone explains every target and variable; nothing but python3 and its venv is needed beforehand. A target is
# a rule with a ## line, a variable a row of aihf_control/cli/variables.py: meaning, targets, what is wrong with it.

.DEFAULT_GOAL := help
.PHONY: help setup bench sweep data figure5 speed gpu-check theory balance balance-runs docs test test-all test-slurm lint format clean

# Values are text: `value` keeps make from expanding what a user wrote, and the shell sees it in quotes.
quoted = '$(subst ','\'',$1)'
GIVEN := $(foreach v,$(filter-out SHELL,$(.VARIABLES)),$(if $(findstring command,$(origin $v)),$v))
$(foreach v,$(GIVEN),$(eval override $v := $$(value $v)))
override PYTHON := $(or $(value PYTHON),python3)
export PYTHON TORCH_INDEX

# A .venv that was moved or copied still runs the code of the place where it was made.
STAMP := .venv/.stamp
HERE := $(shell test "$$(cat $(STAMP) 2>/dev/null)" = "$$(pwd -P)" && test -x .venv/bin/python && echo yes)
PY := $(if $(HERE),.venv/bin/python,$(call quoted,$(PYTHON)))

# Before anything is installed or written: one line for an unfit Python, or for the first wrong name or value.
UNFIT := $(if $(HERE),,$(shell command -v $(PY) >/dev/null || { echo "was not found: install 3.11 or newer"; exit; }; \
  $(PY) -c 'import sys; sys.version_info < (3, 11) and print("is Python %d.%d, 3.11 or newer is needed" \
  % sys.version_info[:2]); import ensurepip, venv' 2>/dev/null \
  || echo "has no venv: install it (on Debian and Ubuntu: apt-get install python3-venv)"))
$(if $(UNFIT),$(error PYTHON=$(PYTHON) $(UNFIT), or name another with PYTHON=))
unexport PYTHONSAFEPATH  # modules are run from here, as `benchmarks` is; 1 would leave this folder out
ask = $(shell PYTHONSAFEPATH= $(PY) -B -m aihf_control.cli.variables $1 $(foreach v,$(GIVEN),$(call quoted,$v=$($v))) 2>&1)
WRONG := $(call ask,check $(or $(MAKECMDGOALS),help))
$(if $(WRONG),$(error $(WRONG)))

help:  ## this text
	@echo "Usage: make TARGET [VARIABLE=value ...]"; echo; echo Targets
	@awk -F ':.*  ## ' '/^[a-z0-9-]+:.*  ## / { printf "  %-11s %s\n", $$1, $$2 }' Makefile
	@$(PY) -B -m aihf_control.cli.variables table

PIP_INSTALL = .venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
  $(if $(value TORCH_INDEX),--extra-index-url "$$TORCH_INDEX")

setup: $(STAMP)  ## create .venv with the pinned packages; the targets below do so by themselves, once
	@:

# The stamp is written last, so an interrupted installation is started again. What was begun here is known by
# its prompt; an environment of someone else's is not cleared, nor one whose interpreter can be mended.
KEPT = $(if $(HERE),,$(shell test -e .venv || exit; test "$$(cat $(STAMP) 2>/dev/null)" != "$$(pwd -P)" \
  || { echo "has an interpreter that cannot be run: mend it"; exit; }; test -e $(STAMP) || test -z "$$(ls -A .venv)" \
  || grep -qx "prompt = 'aihf'" .venv/pyvenv.cfg 2>/dev/null || echo "was not made by make: move it away"))
$(if $(HERE),,$(eval .PHONY: $(STAMP)))
$(STAMP): pyproject.toml constraints.txt
	$(if $(KEPT),$(error .venv $(KEPT), or remove it with `make clean`))
	@echo "Setting up .venv with the pinned packages, once: a few minutes and 2 GB (more with CUDA)."
	@"$$PYTHON" -m venv $(if $(HERE),,--clear) --prompt aihf .venv
	@$(PIP_INSTALL) -e '.[dev]'
	@pwd -P > $@

$(STAMP)-%: $(STAMP)
	@echo "Adding the extra $* to .venv, once."
	@$(PIP_INSTALL) -e '.[$*]'
	@touch $@

# What was typed is written beside the results, so that a reader can run it again.
run = @AIHF_COMMAND=$(call ask,typed $@) $1 $(call ask,options $@)
comma := ,
EXTRAS := $(sort $(addprefix $(STAMP)-,$(if $(filter 1,$(value TENSORBOARD)),tensorboard) \
  $(subst $(comma), ,$(value TRACK)))) \
  $(if $(filter slurm,$(value CLUSTER)),$(STAMP)-slurm)

bench: $(STAMP) $(EXTRAS)  ## train the methods over several seeds, write figure and table to results/runs/
	$(call run,.venv/bin/aihf bench)

sweep: $(STAMP) $(EXTRAS)  ## the same as jobs, on a cluster or on this machine's GPUs: docs/cluster.md
	$(call run,.venv/bin/aihf sweep)

data: $(STAMP)  ## build a task's datasets in data/minari/ from its reference policies
	$(call run,.venv/bin/aihf data build)

figure5: $(STAMP)  ## redraw the figures and tables from the committed results; imports no torch
	$(call run,.venv/bin/python -m benchmarks.figure5)

speed: $(STAMP)  ## measure this machine's training speed against Stable-Baselines3; 15 to 20 minutes
	$(call run,.venv/bin/python -m benchmarks.speed)

gpu-check: $(STAMP)  ## is a GPU's work right, and how fast is it: tests, bits, milliseconds, a run; 15 minutes
	$(call run,.venv/bin/python -m benchmarks.gpu_check)

theory: $(STAMP)  ## the paper's lemma, theorem and special cases in worlds that can be solved; a minute, no torch
	@.venv/bin/python -m benchmarks.theory

balance: $(STAMP)  ## redraw from the committed results where learning from both sources pays; without torch
	@.venv/bin/python -m benchmarks.balance draw

balance-runs: $(STAMP)  ## train what is missing of the balance's cells: a day; it goes on where it was stopped
	@.venv/bin/python -m benchmarks.balance run

docs: $(STAMP)-docs  ## the pages and the API's reference as a site in build/site/; a broken link is an error
	@rm -rf build/pages; mkdir -p build/pages
	@cp -R --parents $$(git ls-files '*.md' docs examples CITATION.cff 'results/*.png') build/pages
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build -q --strict && echo "build/site/index.html is the site's first page"

test: $(STAMP)  ## fast tests, in two processes
	@.venv/bin/python -m pytest -q -n 2

test-all: $(STAMP)  ## every test, the slow ones too
	@.venv/bin/python -m pytest -q -m "not slurm"

test-slurm: $(STAMP)-slurm  ## the sweep on a real Slurm, which is started on this machine and stopped again
	@.venv/bin/python -m pytest -v -s -rs -m slurm

lint: $(STAMP)  ## ruff and mypy
	@.venv/bin/ruff check aihf_control benchmarks examples tests
	@.venv/bin/ruff format --check aihf_control benchmarks examples tests
	@.venv/bin/mypy

format: $(STAMP)  ## rewrite the code in ruff's style
	@.venv/bin/ruff check --fix-only aihf_control benchmarks examples tests
	@.venv/bin/ruff format aihf_control benchmarks examples tests

clean:  ## remove .venv, data/minari/, caches and build files; results/ and data/policies/ stay
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache data/minari
	find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +
