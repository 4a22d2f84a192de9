# `make` explains every target and variable. Nothing but python3 and its venv is needed beforehand.

define HELP
Usage: make TARGET [VARIABLE=value ...]

Targets
  help      this text
  setup     create .venv with the pinned packages; the targets below do so by themselves, once
  bench     train the methods over several seeds and write the figure and the table to results/;
            on a CPU as jobs of one thread, one for each task, method and group of seeds, a job a core
  sweep     the same jobs on a cluster or on this machine's GPUs, or a plan of them: docs/cluster.md
  data      build a task's datasets in data/minari/ from its committed policies
  figure5   redraw the figures and tables from the committed results; needs no torch
  speed     measure this machine's training speed against Stable-Baselines3; ten minutes
  test      fast tests
  test-all  every test, the slow ones too
  test-slurm  the sweep on a real Slurm, which is started on this machine and stopped again
  lint      ruff and mypy
  format    rewrite the code in ruff's style
  clean     remove .venv, data/minari/, caches and build files; results/ and data/policies/ stay

Variables of bench (ENV also of data)
  Name         Default    Example            Meaning
  ENV          hopper     ENV=walker2d       task: hopper, halfcheetah, walker2d; all: these three; swimmer and
                                             ant once you trained their policies (`aihf data train`)
  PRESET       quick      PRESET=smoke       smoke (minutes), quick (an hour), reference
                                             (hours: results/figure5) or paper (a GPU)
  METHODS      preset's   METHODS=aihf,rlhf  any of aihf, rlhf, ipl, bc, irl, oracle, constant_plus,
                                             constant_minus; your own as
                                             my_method.py:MyMethod, or as
                                             name=my_method.py:MyMethod: docs/your_method.md
  SEEDS        preset's   SEEDS=0-4          learner seeds, as 0-4 or 0,3,7; up to ten are a batch on a CPU
  STEPS        preset's   STEPS=50000        SAC steps a seed
  STUDY        preset's   STUDY=noisy        name of the results' folder, for settings of your own
  DEVICE       auto       DEVICE=cpu         auto, cpu or cuda (also of speed)
  PRECISION    auto       PRECISION=float32  of the updates' products: float32, bfloat16 or auto
  ENVIRONMENTS auto       ENVIRONMENTS=workers  serial, workers (processes), envpool (the extra `fast`) or auto
  DEMO_MIX     0          DEMO_MIX=0.25      share of demonstrations from a lower tier, 0 to 1
  DEMO_NOISE   0          DEMO_NOISE=0.1     action noise in the demonstrations, 0 to 1
  LABEL_ERROR  0          LABEL_ERROR=0.1    share of preference labels that are wrong, 0 to 1
  PREFERENCE_FILE  none   PREFERENCE_FILE=data/preferences/hopper/labels.npz  labels of people, a file that
                                             `aihf preferences import` wrote, not a simulated teacher's
  JOBS         cores      JOBS=2             jobs at once; the cores are those that this process may use, by
                                             affinity and cgroup. It changes no number. On a GPU bench is
                                             one process, and a sweep has a job a GPU
  TENSORBOARD  0          TENSORBOARD=1      1 also writes TensorBoard events
  FORCE_NEW    0          FORCE_NEW=1        1 starts over beside runs made in another way, as STUDY-2
  OTHER_DEVICE 0          OTHER_DEVICE=1     1 lets runs begun on another device go on here, marked as moved

Variables of sweep: those of bench, and
  CLUSTER        local    CLUSTER=slurm      local: a job a GPU or a core at once; slurm: an array job
  SEEDS_PER_JOB  10       SEEDS_PER_JOB=5    a job's seeds are trained as one batch
  DRY_RUN        0        DRY_RUN=1          print the plan and its hours, start nothing
  PARTITION      none     PARTITION=gpu      of Slurm
  ACCOUNT        none     ACCOUNT=mylab      of Slurm
  GPUS           0        GPUS=1             of a job on Slurm, 0 or 1
  CPUS           1        CPUS=8             cores of a job on Slurm: one for its learner, all for
                                             environments in worker processes, as beside a GPU
  MEMORY         none     MEMORY=8           GB of a job on Slurm
  TIME           4:00:00  TIME=1-12:00:00    of a job on Slurm, after which it queues again

Variable of figure5
  RUNS         none       RUNS=results/runs/figure5  compare what this study has so far, finished or not
  Without .venv a PYTHON that has matplotlib, numpy, pandas and scipy as in constraints.txt draws too.

Variables of setup
  PYTHON       python3    PYTHON=python3.12  interpreter to make .venv with, 3.11 or newer
  TORCH_INDEX  none       TORCH_INDEX=URL    one more package index for pip. Linux without a GPU: with the
                                             index of PyTorch's CPU wheels, .venv is several GB smaller
endef

.DEFAULT_GOAL := help
.PHONY: help setup bench sweep data figure5 speed test test-all test-slurm lint format clean

BENCH_VARIABLES := ENV PRESET METHODS SEEDS STEPS STUDY DEVICE PRECISION ENVIRONMENTS DEMO_MIX DEMO_NOISE LABEL_ERROR \
  PREFERENCE_FILE JOBS
SWEEP_VARIABLES := CLUSTER SEEDS_PER_JOB CPUS PARTITION ACCOUNT GPUS MEMORY TIME
VARIABLES := $(BENCH_VARIABLES) $(SWEEP_VARIABLES) DRY_RUN TENSORBOARD FORCE_NEW OTHER_DEVICE RUNS PYTHON TORCH_INDEX

# A misspelt variable would otherwise be ignored, and an hour spent on the defaults.
GIVEN := $(foreach v,$(.VARIABLES),$(if $(findstring command,$(origin $v)),$v))
UNKNOWN := $(firstword $(filter-out $(VARIABLES) SHELL,$(GIVEN)))
$(if $(UNKNOWN),$(error $(UNKNOWN) is not a variable of this Makefile. Valid: $(VARIABLES)))

# Values are text: `value` keeps make from expanding what a user wrote, and recipes read them from
# the environment, so that the shell never parses them.
$(foreach v,$(VARIABLES),$(eval override $v := $$(value $v)))
override ENV := $(or $(ENV),hopper)
override PYTHON := $(or $(PYTHON),python3)
export $(VARIABLES)

# A .venv that was moved or copied still runs the code of the place where it was made.
STAMP := .venv/.stamp
HERE := $(shell test "$$(cat $(STAMP) 2>/dev/null)" = "$$(pwd -P)" && test -x .venv/bin/python && echo yes)

# Before anything is installed or written: one line for the first wrong value.
quoted = '$(subst ','\'',$1)'
ifneq ($(filter bench sweep data speed,$(MAKECMDGOALS)),)
  ifeq ($(shell command -v $(call quoted,$(PYTHON))),)
    $(error PYTHON=$(PYTHON) was not found: install Python 3.11 or newer, or name it with PYTHON=)
  endif
  # by the environment's own Python once there is one: it sees the methods of other packages
  WRONG := $(shell $(if $(HERE),.venv/bin/python,$(call quoted,$(PYTHON))) -B -m aihf_control.cli.values \
    $(foreach v,$(BENCH_VARIABLES) $(SWEEP_VARIABLES),$(call quoted,$v=$($v))) 2>&1)
  $(if $(WRONG),$(error $(WRONG)))
  $(foreach v,TENSORBOARD FORCE_NEW OTHER_DEVICE DRY_RUN,$(if $(filter-out 0 1,$($v)),$(error $v=$($v) is neither 0 nor 1)))
endif

help:
	@$(info $(HELP)):

PIP_INSTALL = .venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt \
  $(if $(TORCH_INDEX),--extra-index-url "$$TORCH_INDEX")

# Prints nothing for an interpreter that can make the environment.
define PYTHON_PROBLEM
$(shell $(call quoted,$(PYTHON)) -c 'import sys; sys.version_info < (3, 11) and print(\
"is Python %d.%d, 3.11 or newer is needed: name one with PYTHON=" % sys.version_info[:2])' 2>&1)
endef
define VENV_PROBLEM
$(shell $(call quoted,$(PYTHON)) -c 'import ensurepip, venv' 2>/dev/null \
|| echo "has no venv: install it (on Debian and Ubuntu: apt-get install python3-venv)")
endef

setup: $(STAMP)
	@:

$(if $(HERE),,$(eval .PHONY: $(STAMP)))

# The stamp is written last, so an interrupted installation is started again.
$(STAMP): pyproject.toml constraints.txt
	$(if $(PYTHON_PROBLEM),$(error PYTHON=$(PYTHON) $(PYTHON_PROBLEM)))
	$(if $(VENV_PROBLEM),$(error PYTHON=$(PYTHON) $(VENV_PROBLEM)))
	@echo "Setting up .venv with the pinned packages, once: a few minutes and 2 GB (more with CUDA)."
	@"$$PYTHON" -m venv $(if $(HERE),,--clear) .venv
	@$(PIP_INSTALL) -e '.[dev]'
	@pwd -P > $@

$(STAMP)-tensorboard: $(STAMP)
	@echo "Adding TensorBoard to .venv, once."
	@$(PIP_INSTALL) -e '.[tensorboard]'
	@touch $@

# $(call option,--seeds,SEEDS): nothing when SEEDS is empty, so that defaults are stated in one place.
option = $(if $($2),$1 "$$$2")
BENCH_OPTIONS = $(strip --task "$$ENV" $(call option,--preset,PRESET) $(call option,--methods,METHODS) \
  $(call option,--seeds,SEEDS) $(call option,--steps,STEPS) $(call option,--study,STUDY) $(call option,--device,DEVICE) \
  $(call option,--precision,PRECISION) $(call option,--environments,ENVIRONMENTS) \
  $(call option,--feedback.demo-mix,DEMO_MIX) $(call option,--feedback.demo-noise,DEMO_NOISE) \
  $(call option,--feedback.teacher.mistake,LABEL_ERROR) $(call option,--preference-file,PREFERENCE_FILE) \
  $(call option,--jobs,JOBS) \
  $(if $(filter 1,$(TENSORBOARD)),--tensorboard) \
  $(if $(filter 1,$(FORCE_NEW)),--force-new) $(if $(filter 1,$(OTHER_DEVICE)),--other-device))

# Written beside the results, so that a reader can run it again.
bench: export AIHF_COMMAND = $(strip make bench \
  $(foreach v,$(BENCH_VARIABLES),$(if $($v),$v=$(if $(word 2,$($v)),$(call quoted,$($v)),$($v)))))
bench: $(STAMP) $(if $(filter 1,$(TENSORBOARD)),$(STAMP)-tensorboard)
	@.venv/bin/aihf bench $(BENCH_OPTIONS)

$(STAMP)-slurm: $(STAMP)
	@echo "Adding submitit to .venv, once."
	@$(PIP_INSTALL) -e '.[slurm]'
	@touch $@

SWEEP_OPTIONS = $(strip $(call option,--cluster,CLUSTER) $(call option,--seeds-per-job,SEEDS_PER_JOB) \
  $(call option,--cpus,CPUS) $(call option,--partition,PARTITION) $(call option,--account,ACCOUNT) \
  $(call option,--gpus,GPUS) $(call option,--memory,MEMORY) $(call option,--time,TIME) \
  $(if $(filter 1,$(DRY_RUN)),--dry-run))

sweep: export AIHF_COMMAND = $(strip make sweep \
  $(foreach v,$(BENCH_VARIABLES) $(SWEEP_VARIABLES),$(if $($v),$v=$(if $(word 2,$($v)),$(call quoted,$($v)),$($v)))))
sweep: $(STAMP) $(if $(filter 1,$(TENSORBOARD)),$(STAMP)-tensorboard) $(if $(filter slurm,$(CLUSTER)),$(STAMP)-slurm)
	@.venv/bin/aihf sweep $(BENCH_OPTIONS) $(SWEEP_OPTIONS)

data: $(STAMP)
	@.venv/bin/aihf data build --task "$$ENV"

# Drawing needs four packages alone: without .venv, a PYTHON that has them as pinned will do.
define DRAWS
$(shell $(call quoted,$(PYTHON)) -c 'import sys; from importlib.metadata import version; \
pins = dict(line.strip().split("==") for line in open("constraints.txt") if line.count("==") == 1); \
four = "matplotlib", "numpy", "pandas", "scipy"; \
print("yes" * (sys.version_info >= (3, 11) and all(version(name) == pins[name] for name in four)))' 2>/dev/null)
endef
ifneq ($(filter figure5,$(MAKECMDGOALS)),)
  DRAWER := $(if $(HERE),,$(if $(DRAWS),"$$PYTHON"))
endif

figure5: $(if $(DRAWER),,$(STAMP))
	@$(or $(DRAWER),.venv/bin/python) -m benchmarks.figure5 $(call option,--runs,RUNS)

speed: export AIHF_COMMAND = $(strip make speed $(if $(DEVICE),DEVICE=$(DEVICE)))
speed: $(STAMP)
	@.venv/bin/python -m benchmarks.speed $(call option,--device,DEVICE)

test: $(STAMP)
	@.venv/bin/python -m pytest -q

test-all: $(STAMP)
	@.venv/bin/python -m pytest -q -m "not slurm"

test-slurm: $(STAMP)-slurm
	@.venv/bin/python -m pytest -v -s -rs -m slurm

lint: $(STAMP)
	@.venv/bin/ruff check aihf_control benchmarks examples tests
	@.venv/bin/ruff format --check aihf_control benchmarks examples tests
	@.venv/bin/mypy

format: $(STAMP)
	@.venv/bin/ruff check --fix-only aihf_control benchmarks examples tests
	@.venv/bin/ruff format aihf_control benchmarks examples tests

clean:
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache data/minari
	find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +
