# make demo: set up and run papers on the bundled model.  make test: set up and run the tests.
# make docs: build the documentation to build/docs/site, links checked; it opens from disk, without a network.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test docs lint types evidence clean

demo: .venv/ready
	$(BIN)/diffolio demo

test: .venv/ready lint types
	$(BIN)/python -m pytest

docs: .venv/ready
	$(BIN)/python -m docs.builder

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv out build dist
