# The targets people and CI use. `make env PYTHON=/path/to/python3.12 VENV=/elsewhere` chooses both.
VENV ?= .venv
# The first that runs: version managers leave commands behind for versions that are not installed.
PYTHON ?= $(shell for it in python3.11 python3.12 python3; do "$$it" -c "" 2>&- && command -v "$$it" && break; done)

# Processes of `make test`, one file of tests each; one takes up to 3 GB of memory.
WORKERS ?= 2

STAMP := $(VENV)/.pangu_env
BIN := $(VENV)/bin

.PHONY: env train check quick test prove bench docs ascend kernels

# $(call holds,COMMAND): COMMAND names on standard output what failed, and reports on standard error. The names become the
# last line of make, which would otherwise say only that a recipe had failed.
holds = $(call failed,$(shell $1 || echo "(see above)"))
failed = $(if $1,$(error make $@: failed: $1))

env: $(STAMP)

# Made anew only when what it is made from has changed. Python 3.11 gets the lock, others what pip resolves.
$(STAMP): requirements.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "make env: no Python found; install python3.11 or python3.12 (on Debian and \
	Ubuntu: apt-get install python3.11 python3.11-venv), or say make PYTHON=/path/to/python" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { echo "make env: \
	$(PYTHON) is `"$(PYTHON)" -V 2>&1`, and 3.11 or 3.12 is needed; install one, or say make \
	PYTHON=/path/to/python3.11" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make env: $(PYTHON) cannot make environments; \
	install its venv module (on Debian and Ubuntu: apt-get install python3.11-venv)" >&2; exit 2; }
	"$(PYTHON)" -m venv "$(VENV)"
	@if "$(BIN)/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then set -ex; \
	  "$(BIN)/pip" install --quiet --disable-pip-version-check --no-deps -r requirements.txt; \
	  "$(BIN)/pip" install --quiet --disable-pip-version-check --no-deps -e .; \
	else set -ex; \
	  "$(BIN)/pip" install --quiet --disable-pip-version-check -e '.[test]'; \
	fi
	@"$(BIN)/python" -m tpu_npu_backends.cpu_kernels.build >/dev/null || echo "make env: without kernels for the CPU: \
	training and decoding on it are slower, nothing else changes" >&2
	@touch "$@"

train: env
	"$(BIN)/pangu" train --gin_file gin/nlp/quickstart.gin --run_dir runs/quickstart

check: env
	$(call holds,"$(BIN)/python" -m tests.checks)
	@echo "make check: passed"

quick: env
	$(call holds,"$(BIN)/python" -m tests.quick -n "$(WORKERS)" --dist loadfile)
	@echo "make quick: passed"

test: env
	"$(BIN)/python" -m pytest -m "not prove" -n "$(WORKERS)" --dist loadfile

prove: env
	"$(BIN)/python" -m pytest -m prove

bench: env
	"$(BIN)/python" -m benchmarks

# The documentation as a site. A broken link fails (not with --quiet: then mkdocs sees no warning). What makes it is no part
# of `make env`.
docs: $(VENV)/.pangu_docs
	"$(BIN)/mkdocs" build
	@echo "make docs: build/docs/index.html"

$(VENV)/.pangu_docs: requirements-docs.txt $(STAMP)
	@if "$(BIN)/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then set -ex; \
	  "$(BIN)/pip" install --quiet --disable-pip-version-check --no-deps -r requirements-docs.txt; \
	else set -ex; \
	  "$(BIN)/pip" install --quiet --disable-pip-version-check -e '.[docs]'; \
	fi
	@touch "$@"

# The PJRT plugin of the Ascend path, `libpjrt_ascend.so`, from the sources here and a header of an installed wheel.
ascend: env
	"$(BIN)/python" -m tpu_npu_backends.ascend.plugin.build

# Kernels for a CPU's training and decoding, optional: needs a C++ compiler.
kernels: env
	"$(BIN)/python" -m tpu_npu_backends.cpu_kernels.build
