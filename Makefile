# Needs git, make and Python 3.11 or later with venv and pip; `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
BENCH := build/bench
PEERS := dotflow1 hamilton luigi pebble plot prefect taskiq
TOOLS := build/tools
STORES := build/stores
OLDEST := build/oldest
PYTHONS := build/pythons
VERSIONS := build/versions
PROJECT := pyproject.toml constraints.txt

# The interpreter to build on: `make test PYTHON=python3.13`. Unless given, the first of
# CANDIDATES that is new enough.
PYTHON ?=
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

# pip before 25.3 pins what builds the package by the first, later ones by the second.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The tests start more than a thousand processes, each of which would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

INSTALL := -m pip install --quiet --quiet

# Three test processes, as some tests wait; the tests of a file share one, and what they set up
# there. `make test JOBS=0` takes one, where each test runs alone.
JOBS := 3
PYTEST := -m pytest --numprocesses $(JOBS) --dist loadfile

# make_venv FOLDER: a virtual environment with pip in it, or the reason why there is none.
define make_venv
@python=; \
for name in $(or $(PYTHON),$(CANDIDATES)); do \
	if "$$name" -c '$(NEW_ENOUGH)' 2>/dev/null; then python=$$name; break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo "make: no Python 3.11 or later among: $(or $(PYTHON),$(CANDIDATES))." >&2; \
	echo "make: install one, or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3" >&2; \
	exit 1; \
fi; \
echo "Making $(1) with $$("$$python" --version)"; \
rm -rf "$(1)" && "$$python" -m venv "$(1)"
endef

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/.demo ## Run the weather pipeline and show its trace, metrics and logs
	@$(BIN)/python examples/weather.py

.PHONY: test
test: check ## Run every gate: style, types, import contracts, tests with coverage
	$(BIN)/python $(PYTEST) --cov

.PHONY: test-quick
test-quick: $(VENV)/.dev ## Run the tests that take no time, no servers and no Dask
	$(BIN)/python $(PYTEST) -m 'not (slow or programs or backends or dask)'

# Without what is the same on every Python (boards, the project's files, the history's tables), and
# without what takes long.
.PHONY: test-pythons
test-pythons: $(VENV)/.made ## Test on every other Python from 3.11 to 3.14 that is found
	@$(BIN)/python tests/pythons/every_python.py $(PYTEST) -m 'not (slow or backends or dask)' \
		tests/unit tests/contract tests/integration/test_recorded_telemetry.py \
		tests/integration/test_telemetry_sequential.py tests/integration/test_telemetry_parallel.py \
		--ignore tests/unit/grafana --ignore tests/unit/test_project.py \
		--ignore tests/contract/test_command_line_history.py --ignore tests/contract/test_flow_control.py \
		--ignore tests/contract/test_odd_objects.py --ignore tests/unit/otel/test_odd_records.py

.PHONY: test-oldest
test-oldest: $(OLDEST)/.made ## Test telemetry, storages and Dask on the oldest libraries that pyproject.toml admits
	$(OLDEST)/bin/python $(PYTEST) tests/unit/otel tests/integration/test_telemetry*.py \
		tests/contract/test_executor_*.py tests/unit/test_dask_*.py \
		tests/integration/test_worker_*.py tests/integration/test_relay_*.py \
		tests/contract/test_command_line.py tests/integration/test_history.py tests/integration/test_pages.py \
		tests/wire/test_wire_*.py tests/backends/test_push.py \
		tests/unit/test_storage_sql.py tests/unit/test_storage_fsspec.py tests/backends/test_storage_*.py \
		-m 'not slow' -k 'not elastic'

# Each lane is a file of pins, which says what changed in the release after them, but for the
# newest one, which is what a user gets who installs today.
LANES := $(patsubst tests/versions/%.txt,%,$(wildcard tests/versions/*.txt)) newest
# What depends on the versions: spans in every mode and the short way to make them, metrics and
# gauges, log records, forked processes, and all of it over OTLP.
VERSIONED := tests/unit/otel/test_sdk*.py tests/unit/otel/test_instance.py tests/unit/otel/test_forks.py \
	tests/unit/otel/test_metrics*.py tests/unit/otel/test_log*.py tests/unit/otel/test_pipeline.py \
	tests/unit/workers/test_files_of_code.py tests/integration/test_telemetry_sequential.py \
	tests/integration/test_telemetry_parallel.py tests/integration/test_own_logger_provider.py \
	tests/wire/test_wire_metrics.py
# On the oldest and the newest release what comes from workers as well; and on the newest what
# depends on other libraries, which the other lanes have not.
VERSIONED_newest := tests/unit/otel/test_relay.py tests/unit/otel/test_tracer.py \
	tests/integration/test_telemetry_deferred.py \
	tests/integration/test_worker_*.py tests/integration/test_relay_*.py tests/unit/cli tests/unit/test_scheduler_cron.py tests/unit/test_dask_*.py \
	tests/unit/otel/test_app.py tests/unit/otel/test_pages.py tests/contract/test_command_line.py \
	tests/contract/test_executor_dask.py

.PHONY: test-versions $(LANES:%=test-versions-%)
test-versions: $(LANES:%=test-versions-%) ## Test telemetry on OpenTelemetry before each of its changes, and on the newest of everything
$(LANES:%=test-versions-%): test-versions-%: $(VERSIONS)/%/.made
	$(VERSIONS)/$*/bin/python $(PYTEST) $(VERSIONED) $(VERSIONED_$*) -k 'not elastic'

.PHONY: tools
tools: $(TOOLS)/.made $(STORES)/.made ## Install what some tests need beside the Python packages in .venv (with npm)

.PHONY: check
check: $(VENV)/.dev ## Run the gates that run no code: style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: check-rules
check-rules: $(VENV)/.dev ## Check and test the rules for Prometheus, or those of ARGS (needs promtool)
	@$(BIN)/python grafana/check_rules.py $(ARGS)

.PHONY: docs
docs: $(VENV)/.dev ## Write the API reference into build/docs, from the docstrings
	@rm -rf build/docs
	@$(BIN)/python tests/reference.py build/docs

.PHONY: format
format: $(VENV)/.dev ## Repair style where it can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(BENCH)/here/.made $(BENCH)/telemetry/.made $(BENCH)/stores/.made $(STORES)/.made $(BENCH)/dask/.made $(PEERS:%=$(BENCH)/%/.made) ## Measure speed and memory beside others
	@$(BENCH)/here/bin/python tests/benchmarks/run.py --environments $(BENCH) $(ARGS)

.PHONY: dashboards
dashboards: $(VENV)/.dev ## Build the Grafana boards' JSON, and the drawings of it
	@PYTHONPATH=grafana $(BIN)/python -m boards

.PHONY: pictures
pictures: dashboards ## Draw the boards, and take pictures of Prometheus and our pages (needs it and Chromium)
	@PYTHONPATH=tests/helpers:examples $(BIN)/python tests/pictures/take.py
	@PYTHONPATH=tests/helpers $(BIN)/python tests/pictures/pages.py

.PHONY: constraints
constraints: export PIP_CONSTRAINT :=
constraints: export PIP_BUILD_CONSTRAINT :=
constraints: ## Renew constraints.txt: the newest release of everything that is installed
	$(call make_venv,build/pins)
	@build/pins/bin/python $(INSTALL) hatchling editables -e '.[dev]'
	@{ sed '/^[^#]/,$$d' constraints.txt; \
		build/pins/bin/python -m pip freeze --exclude-editable; } > build/pins/constraints.txt
	@mv build/pins/constraints.txt constraints.txt

.PHONY: clean
clean: ## Remove everything that was made
	rm -rf $(VENV) build dist .coverage .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find dotflow dotflow_otel examples grafana tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.made:
	$(call make_venv,$(VENV))
	@touch $@

$(VENV)/.demo: $(PROJECT) | $(VENV)/.made
	@echo "Installing what the demo needs into $(VENV)"
	@$(BIN)/python $(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(PROJECT) | $(VENV)/.made
	@echo "Installing what the tests need into $(VENV)"
	@$(BIN)/python $(INSTALL) -e '.[dev]'
	@touch $@

$(OLDEST)/.made: export PIP_CONSTRAINT := constraints-oldest.txt
$(OLDEST)/.made: export PIP_BUILD_CONSTRAINT := constraints-oldest.txt
$(OLDEST)/.made: pyproject.toml constraints-oldest.txt
	$(call make_venv,$(OLDEST))
	@$(OLDEST)/bin/python $(INSTALL) -e '.[test]'
	@touch $@

# What a lane does not pin is as in constraints.txt.
$(VERSIONS)/%/.made: tests/versions/%.txt $(PROJECT)
	$(call make_venv,$(VERSIONS)/$*)
	@awk -F '==' 'NR == FNR { pinned[$$1] } NR == FNR || !($$1 in pinned)' $< constraints.txt \
		> $(VERSIONS)/$*/constraints.txt
	@PIP_CONSTRAINT=$(VERSIONS)/$*/constraints.txt $(VERSIONS)/$*/bin/python $(INSTALL) \
		-e '.[otel]' pytest pytest-xdist
	@touch $@

# Made again at each call: what is newest changes.
.PHONY: $(VERSIONS)/newest/.made
$(VERSIONS)/newest/.made: export PIP_CONSTRAINT := /dev/null
$(VERSIONS)/newest/.made: export PIP_BUILD_CONSTRAINT := /dev/null
$(VERSIONS)/newest/.made:
	$(call make_venv,$(VERSIONS)/newest)
	@$(VERSIONS)/newest/bin/python $(INSTALL) -e '.[test]'

$(PYTHONS)/%/.made: $(PROJECT)
	$(call make_venv,$(PYTHONS)/$*)
	@$(PYTHONS)/$*/bin/python $(INSTALL) -e '.[dashboards,test]'
	@touch $@

$(TOOLS)/.made: tests/wire/npm.txt
	@echo "Installing $$(cat $<) into $(TOOLS)"
	@rm -rf $(TOOLS) && mkdir -p $(TOOLS)
	@npm install --prefix $(TOOLS) --no-save --no-package-lock --ignore-scripts \
		--no-audit --no-fund --loglevel error $$(cat $<)
	@touch $@

# Servers that are tested against have dependencies of their own.
$(STORES)/.made: export PIP_CONSTRAINT :=
$(STORES)/.made: tests/backends/stores.txt
	$(call make_venv,$(STORES))
	@$(STORES)/bin/python $(INSTALL) -r $<
	@touch $@

$(BENCH)/here/.made: $(PROJECT)
	$(call make_venv,$(BENCH)/here)
	@$(BENCH)/here/bin/python $(INSTALL) -e .
	@touch $@

$(BENCH)/telemetry/.made: $(PROJECT)
	$(call make_venv,$(BENCH)/telemetry)
	@$(BENCH)/telemetry/bin/python $(INSTALL) -e '.[cli,notify,otel]'
	@touch $@

# pytest, for the servers are started as the tests start them.
$(BENCH)/stores/.made: $(PROJECT)
	$(call make_venv,$(BENCH)/stores)
	@$(BENCH)/stores/bin/python $(INSTALL) -e '.[postgres,s3]' pytest
	@touch $@

# Others have dependencies of their own, dotflow 1.0.1 even this project's import name, so each
# is pinned in a file of its own.
$(BENCH)/dask/.made: export PIP_CONSTRAINT :=
$(BENCH)/dask/.made: tests/benchmarks/peers/dask.txt $(PROJECT)
	$(call make_venv,$(BENCH)/dask)
	@$(BENCH)/dask/bin/python $(INSTALL) -r $<
	@PIP_CONSTRAINT=constraints.txt $(BENCH)/dask/bin/python $(INSTALL) -e .
	@touch $@

$(PEERS:%=$(BENCH)/%/.made): export PIP_CONSTRAINT :=
$(PEERS:%=$(BENCH)/%/.made): $(BENCH)/%/.made: tests/benchmarks/peers/%.txt
	$(call make_venv,$(BENCH)/$*)
	@$(BENCH)/$*/bin/python $(INSTALL) -r $<
	@touch $@
