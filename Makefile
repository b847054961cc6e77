# The two commands of a user: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo

.PHONY: demo test lint setup tiny-base clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[test]'
	touch $@

demo: setup
	rm -rf $(DEMO)
	$(BIN)/python train_sft.py --config configs/tiny.yaml --set training.output_dir=$(DEMO)
	$(BIN)/python -m audiollm.eval --system $(DEMO)/model --system samples/tiny-base --system majority \
		--data samples --split test --group-by carrier wording speaker --batch-size 16 \
		--log $(DEMO)/trainer_state.json --out $(DEMO)/eval
	$(BIN)/python -m audiollm.eval.answer $(DEMO)/model $(shell ls samples/audio/test/*.ogg 2>/dev/null | awk 'NR % 40 == 7')
	@echo "report: $(DEMO)/eval/report.html"

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Makes samples/tiny-base again: about an hour of CPU time; needs the synthesisers that samples/README.md names.
tiny-base: setup
	$(BIN)/pip install --quiet -e '.[synth]'
	$(BIN)/python samples/make_samples.py base --out build/base
	$(BIN)/python train_sft.py --config configs/tiny-base.yaml
	rm -rf samples/tiny-base && cp -r build/tiny-base/model samples/tiny-base

clean:
	rm -rf build .pytest_cache .ruff_cache
