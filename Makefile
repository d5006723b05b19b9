# make demo   install, then simulate, train, denoise and draw: runs/demo/
# make test   install the test extras and run the tests (about 5 minutes on two cores)
# make slow   the long tests: those compiled fast, then those compiled as users compile
# make notebooks   run the tutorials and keep their outputs: docs/tutorials/*.ipynb (a few minutes)
# make lint   formatting, lint and types
# make clean  remove what the above made, except runs/

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# Each process begins with a half that lies together, so that few modules are prepared for twice.
SHARED_OUT := -n $(WORKERS) --dist worksteal

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12 ...` chooses another.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c "$(NEW_ENOUGH)" >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: demo test slow notebooks lint clean

demo: $(VENV)/installed
	$(BIN)/smae-jax demo --overwrite

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(SHARED_OUT)

slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "slow and not optimized" $(SHARED_OUT)
	$(BIN)/python -m pytest -m "slow and optimized" $(SHARED_OUT)

notebooks: $(VENV)/installed-notebooks
	$(BIN)/python -m docs.run_notebook docs/tutorials/*.ipynb

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf $(VENV) .jax_cache .pytest_cache .ruff_cache build dist *.egg-info

# One stamp for each set of extras, so that a second `make` installs nothing.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: smae_jax needs Python 3.11 or newer; none was found on the PATH." \
		"Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c "$(NEW_ENOUGH)" || { echo "make: smae_jax needs Python 3.11 or newer," \
		"but $(PYTHON) is $$($(PYTHON) --version 2>&1)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-notebooks: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[notebooks]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	@touch $@ $(VENV)/installed $(VENV)/installed-test
