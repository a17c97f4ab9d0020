# make demo trains the main job, make test runs the tests; both first make the environment where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Most of a test's time is one core's: two files at a time.
TOGETHER := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: demo test check clean

demo: $(INSTALLED)
	$(BIN)/python run.py experiment=demo

test: $(INSTALLED)
	$(BIN)/python -m pytest $(TOGETHER)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV)
