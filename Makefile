# `make run` and `make test` set up all they need on a fresh machine and are safe to repeat.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: run test lint bench faults images setup browser clean

run: setup
	@exec $(BIN)/python manage.py up

setup: $(READY)

$(READY): requirements.txt requirements-web.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Prefloop needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $(READY)

# Debian's Chromium for the browser tests; without apt-get, or without the right to install, they say why they skip.
browser:
	@command -v chromium >/dev/null || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; }

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@git ls-files -z 'templates/*.html' | xargs -0 $(BIN)/djade --check --target-version 5.2
	@$(BIN)/mypy

# The second run reads what the first has compiled; the first does not load learning, which knows no database. Modules
# start in the order that tests/conftest.py says.
test: export PYTHONDONTWRITEBYTECODE =
test: setup browser lint
	@url=$$($(BIN)/python -m tests.postgres); \
	  if [ -n "$$url" ]; then echo "the database tests on PostgreSQL"; \
	    DATABASE_URL="$$url" $(BIN)/pytest -q -n 2 -m database --ignore tests/rlhf/learning; \
	  else echo "PostgreSQL does not answer on 127.0.0.1:5432 and DATABASE_URL is not set: tests run on SQLite only"; fi
	@env -u DATABASE_URL $(BIN)/pytest -q -n 2 --dist loadscope --no-loadscope-reorder

# The tests that kill and stop real processes, five times over; `make test` runs them once. Then a loop goes round while
# every process of a house is killed four times, children too, at moments that depend on the seed it prints.
faults: setup
	@for turn in 1 2 3 4 5; do env -u DATABASE_URL $(BIN)/pytest -q -m faults || exit 1; done
	@env -u DATABASE_URL HOUSE_KILLS=4 $(BIN)/pytest -q -s tests/full/test_full_circle.py -k whatever

# The README's pictures, from a project made for them.
images: setup browser
	@env -u DATABASE_URL $(BIN)/pytest -q tests/browser/test_screenshots.py --images docs/images

bench: setup
	@for script in benchmarks/*.py; do echo "== $$script"; PYTHONPATH=. $(BIN)/python $$script || exit 1; done

clean:
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
