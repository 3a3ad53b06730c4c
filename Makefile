# make demo   install into .venv and run the main job to an exported checkpoint
# make test   install what tests need and run them, with the layering
# make check  lint and types
# make docs   the reference pages, and docs/api/ from the docstrings
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check docs install install-test clean

demo: install
	$(BIN)/kidneyseg-search run --study lr_loss --n-trials 12
	$(BIN)/kidneyseg-search export --study lr_loss --out best/
	@echo
	@echo "The best network lies in best/ (best/README.md says how good it is). Next:"
	@echo "  $(BIN)/kidneyseg-search dashboard                 # browse the trials"
	@echo "  $(BIN)/kidneyseg predict --model best/ -i runs/phantom/case_00000/imaging.nii.gz -o mask.nii.gz"
	@echo "  $(BIN)/kidneyseg-search run --study lr_loss --n-trials 50   # go on"

test: install-test
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

check: install-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: install-test
	$(BIN)/python -m kidneyseg.reference docs docs/api

install: .venv/installed

install-test: .venv/installed-test

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; name another: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt --group test
	touch $@

clean:
	rm -rf .venv runs best docs/api
