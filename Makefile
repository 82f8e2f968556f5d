# Everything a fresh Debian machine with Python 3.11 needs is done by these targets.
# `make serve` runs the service, `make test` installs what tests need and passes them.

PYTHON ?= python3.11
VENV   ?= .venv
PEERS  ?= .peers
BIN    := $(VENV)/bin
DATA   ?= data
ARGS   ?=
KILLS  ?= 100

.PHONY: help serve test lint protos bench soak clean

help:
	@echo "make serve    run the service on its embedded defaults, data in ./$(DATA)  (ARGS=\"--grpc-listen …\")"
	@echo "make test     install what tests need and run them all   (ARGS=\"-k pattern\")"
	@echo "make lint     ruff, mypy --strict, import rules, buf lint"
	@echo "make protos   regenerate the stubs from the .proto files"
	@echo "make bench    measure against an empty echo service in the same run"
	@echo "make soak     kill the server 100 times under load and look for what it had acknowledged  (KILLS=n)"

# The user's environment: server, HSM support, client and CLI.
$(BIN)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: apt-get install python3.11 python3.11-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "venv is needed: apt-get install python3.11-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=24'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all]'
	touch $@

# On top of it what developers and tests need.
$(BIN)/.developed: $(BIN)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

serve: $(BIN)/.installed
	$(BIN)/kagitori-server --data-dir $(DATA) --aws-listen 127.0.0.1:8443 $(ARGS)

# Files are handed out in their order: sorted by their number of tests, the long ones with few would come last.
test: $(BIN)/.developed
	tests/install-system-packages
	tests/install-peers $(PYTHON) $(PEERS)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(BIN)/.developed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint

protos: $(BIN)/.developed
	$(BIN)/python protos/generate.py

bench: $(BIN)/.developed
	tests/install-system-packages
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.trail
	$(BIN)/python -m benchmarks.tokens

soak: $(BIN)/.developed
	KAGITORI_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest -q tests/integration/test_crash.py

clean:
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
