# The two commands of a user: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
CLIPS := $(wordlist 1,3,$(wildcard samples/audio/test/*3.ogg))

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
	for system in majority samples/tiny-base $(DEMO)/model; do \
		$(BIN)/python -m audiollm.eval --system $$system --data samples --split test --batch-size 16 \
			--group-by carrier wording speaker --out $(DEMO)/eval/$$(basename $$system) || exit 1; done
	$(BIN)/python -m audiollm.eval.report $(DEMO)/eval/model --train-log $(DEMO)/trainer_state.json \
		--compare $(DEMO)/eval/tiny-base $(DEMO)/eval/majority
	$(BIN)/python -m audiollm.eval.answer $(DEMO)/model $(CLIPS)
	@echo "report: $(DEMO)/eval/model/report.html"

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Makes samples/tiny-base again: about an hour and a half on 2 cores; needs the synthesisers that samples/README.md names.
tiny-base: setup
	$(BIN)/pip install --quiet -e '.[synth]'
	$(BIN)/python samples/make_samples.py base --out build/base --clips 4000
	$(BIN)/python train_sft.py --config configs/tiny-base.yaml
	$(BIN)/python samples/splice.py --base build/base --hearing build/tiny-base --out build/spliced
	$(BIN)/python train_sft.py --config configs/tiny-base-words.yaml
	rm -rf samples/tiny-base && cp -r build/tiny-base-words/model samples/tiny-base

clean:
	rm -rf build .pytest_cache .ruff_cache
