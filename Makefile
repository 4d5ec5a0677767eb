# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test check bench faults clients man screens wheel deb lock clean

install: $(STAMP)

# What is pinned, by hash; then the project itself, offline.
$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "dslice needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The main job, told as it runs. `make demo KEEP=1` leaves everything up.
demo: install
	@$(BIN)/dslice demo $(if $(KEEP),--keep)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Three processes, for much of a test is waiting; a folder's tests stay in one (tests/conftest.py).
test: check
	$(BIN)/pytest -n 3 --dist loadscope --no-loadscope-reorder

# Each benchmark beside its baseline: minutes. FULL=1: all sizes, an hour. BENCH="createslice --json FILE --markdown".
bench: install
	FULL=$(FULL) $(BIN)/python -m bench $(BENCH)

# Break the real stack on purpose, case by case, and print what was lost or doubled. CASES="--only redis", or --short.
faults: install
	$(BIN)/python -m tests.faults $(CASES)

# Every SSH client that people bring, at the front door and at a real sshd (docs/clients.md). As root: it installs them.
clients: install
	$(BIN)/python -m tests.clients.installed
	DSLICE_CLIENTS=all $(BIN)/pytest tests/clients -rs --durations=10

# The pictures of docs/web.md and the README again, from a testbed of their own and Debian's Chromium.
screens: install
	$(BIN)/python -m tests.acceptance.screens

# `man svm`, `man svm-createslice` … within the installation.
man: install
	@$(BIN)/python -m admin.man

# dist/dslice-*.whl, and constraints.txt beside it: docs/installing.md.
wheel: install
	@deploy/wheel

# dslice-client and dslice-node as packages of Debian's, from the wheel.
deb: wheel
	@deploy/debian/build

# Pins again from pyproject.toml; needs uv, writes no address of any index.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --extra dev pyproject.toml -o requirements.txt

clean:
	rm -rf .venv .clients .dslice dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
