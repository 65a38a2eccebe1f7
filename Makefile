# Everything runs from here; every target sets up what it needs. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/recon3d
BLENDER := $(CACHE)/blender
RECONVIAGEN := $(CACHE)/reconviagen

PROFILE ?= standard
DEVICE ?= auto
CASES ?=
ARGS ?=

export PYTHONUNBUFFERED := 1
# Compiled kernels outlive this checkout, and serve another one. numba looks for changes in a kernel's own file only,
# though one kernel may be compiled into another: so the folder is named after all of them.
export NUMBA_CACHE_LOCATOR_CLASSES := recon3d_runner.numba_place.InPackage
export NUMBA_CACHE_DIR := $(CACHE)/numba/$(shell grep -rlE --include=*.py 'numba|kernel' runner | LC_ALL=C sort | xargs cat \
	| sha256sum | cut -c1-12)

PYTHON_DIRS := crds/recon3d_contract runner/recon3d_runner tests examples benchmarks

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: env
env: ## make .venv with every extra, from hash-pinned requirements
	@requirements/env.sh $(VENV) requirements/dev.txt --project

# Ends with 3 where no cluster can be had; then the runner alone shows what it can.
.PHONY: demo
demo: env ## the whole product: a cluster, the chart, `kubectl apply`, a mesh (ON=kind, node or current chooses)
	@$(if $(filter 0,$(shell id -u)),requirements/system.sh images)
	@PYTHONPATH=tests/cluster $(BIN)/python -m kubecluster.demo up $(or $(ON),auto) $(ARGS) || { \
		status=$$?; [ $$status = 3 ] && [ -z "$(ON)" ] || exit $$status; \
		echo "[demo] so only the runner is shown: no queue, no operator, no REST API"; $(MAKE) demo-runner; }

.PHONY: demo-down
demo-down: env ## remove the demo's cluster and all that it made there
	@PYTHONPATH=tests/cluster $(BIN)/python -m kubecluster.demo down

.PHONY: demo-runner
demo-runner: env ## reconstruct the bundled example into out/demo without a cluster, and say how good it is
	@rm -rf out/demo
	@mkdir -p out
	@$(BIN)/recon3d-runner run builtin:example --out out/demo --profile fast $(ARGS)

.PHONY: kind-gpu
kind-gpu: ## for a machine with a GPU: kind with its GPUs, the chart on it (ARGS="--set licenses..." accepts licences)
	@charts/kind-gpu.sh $(ARGS)

.PHONY: images
images: env ## build the images of operator and runner (CPU); kept by content
	@$(if $(filter 0,$(shell id -u)),requirements/system.sh images)
	@PYTHONPATH=tests/cluster $(BIN)/python -m kubecluster.builds

# Several processes; a number in JOBS is that many, 0 is none beside.
JOBS ?= $(shell echo $$(( $$(nproc) < 8 ? $$(nproc) : 8 )))
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(JOBS) \
	--dist loadfile --no-loadscope-reorder
# Gets what the tests on a cluster need, and tells them what is left out here, and why.
ON_CLUSTER = RECON3D_LEFT_OUT=$$(PYTHONPATH=tests/cluster $(BIN)/python -m kubecluster.able) && export RECON3D_LEFT_OUT \
	&& $(BIN)/python -m pytest

# pytest comes last, so that the output ends with its summary line.
.PHONY: test
test: env ## lint, types, import rules, then every test that needs no cluster (ARGS="-k name" narrows)
	@requirements/system.sh test
	@$(MAKE) lint
	@echo "[test] pytest in $(JOBS) processes"
	@$(PYTEST) -m "not cluster and not e2e" $(ARGS)

# What only computes leaves one core to the nodes, whose tests are timed, and is shown when they are over.
.PHONY: test-all
test-all: env ## the three: test-cluster, then test-e2e, and test beside them (out/test.log)
	@requirements/system.sh test
	@mkdir -p out; status=0; \
	$(MAKE) test JOBS=$$(( $(JOBS) > 1 ? $(JOBS) - 1 : 1 )) > out/test.log 2>&1 & beside=$$!; \
	trap 'kill $$beside 2> /dev/null || :' EXIT; \
	$(MAKE) test-cluster || status=$$?; \
	$(MAKE) test-e2e || status=$$?; \
	echo "[test] waits for the tests that need no cluster"; \
	wait $$beside || status=$$?; \
	cat out/test.log; exit $$status

# Where the code cannot be fetched, the tests that need it say so and are left out.
.PHONY: test-reconviagen
test-reconviagen: env ## ReconViaGen's real pins on Python 3.10, its code with tiny random weights (6 GB the first time)
	@requirements/env.sh $(RECONVIAGEN)/env requirements/runner-reconviagen.txt --python 3.10
	@tests/integration/reconviagen/checkout.sh $(RECONVIAGEN)/code
	@RECON3D_TEST_RECONVIAGEN_PYTHON=$${RECON3D_TEST_RECONVIAGEN_PYTHON:-$(RECONVIAGEN)/env/bin/python} \
		RECON3D_TEST_RECONVIAGEN=$${RECON3D_TEST_RECONVIAGEN:-$$(ls -d $(RECONVIAGEN)/code 2>/dev/null)} \
		$(BIN)/python -m pytest -rs tests/integration/reconviagen \
		tests/unit/runner/reconviagen/test_reconviagen_interface.py $(ARGS)

.PHONY: test-cluster
test-cluster: env ## the tests on a real API server and a real node (finds, downloads or builds its binaries: minutes)
	@$(ON_CLUSTER) -m "cluster and not e2e" --timeout 1800 $(ARGS)

.PHONY: test-e2e
test-e2e: env ## the chart on a real node: whole lives of jobs, and what goes wrong (root; the first time long)
	@$(ON_CLUSTER) -m e2e $(ARGS)

.PHONY: lint
lint: env ## ruff, mypy --strict, import-linter
	@started=$$SECONDS; \
	echo "[test] ruff"; $(BIN)/ruff check .; $(BIN)/ruff format --check .; \
	echo "[test] mypy"; $(BIN)/mypy; \
	echo "[test] import-linter"; $(BIN)/lint-imports --config pyproject.toml; \
	echo "[test] checks took $$((SECONDS - started)) s"

.PHONY: format
format: env ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: docs
docs: env ## make the documents' tables anew from the code
	@$(BIN)/python docs/generate.py

.PHONY: bench-engine
bench-engine: env blender-env ## the engine against known truths: CASES="dir ..." PROFILE=standard DEVICE=auto
	@$(BIN)/python benchmarks/bench_engine.py --profile $(PROFILE) --device $(DEVICE) \
		--blender-python $(BLENDER)/bin/python $(addprefix --case ,$(CASES)) $(ARGS)

.PHONY: blender-env
blender-env:
	@requirements/system.sh blender
	@requirements/env.sh $(BLENDER) requirements/blender.txt --python 3.11

.PHONY: crds
crds: env ## make crds/reconstructionjobs.yaml anew from the contract's types
	@$(BIN)/python -m recon3d_contract.crd > crds/reconstructionjobs.yaml.part
	@mv crds/reconstructionjobs.yaml.part crds/reconstructionjobs.yaml
	@cp crds/reconstructionjobs.yaml charts/recon3d/files/reconstructionjobs.yaml

.PHONY: cluster-up
cluster-up: env ## start a control plane with the CRD (NODE=1: with a real node, as root); prints its KUBECONFIG
	@$(if $(NODE),requirements/system.sh node)
	@PYTHONPATH=tests/cluster $(BIN)/python -m kubecluster up $(if $(NODE),--node)

.PHONY: cluster-load
cluster-load: ## give that node the images of an archive: ARCHIVE=image.tar
	@PYTHONPATH=tests/cluster $(BIN)/python -m kubecluster load $(ARCHIVE)

.PHONY: cluster-down
cluster-down: env ## take that control plane down
	@PYTHONPATH=tests/cluster $(BIN)/python -m kubecluster down

.PHONY: bench-operator
bench-operator: env ## the operator on a real API server beside the built-in Job controller (ARGS="--only create")
	@$(BIN)/python benchmarks/bench_operator.py $(ARGS)

.PHONY: bench-api
bench-api: env ## the job API on a real API server: load, memory, fuzzing, kills (ARGS="--only get")
	@$(BIN)/python benchmarks/bench_api.py $(ARGS)

.PHONY: example-input
example-input: blender-env ## model and render examples/input again, with Blender (minutes)
	@$(BLENDER)/bin/python examples/make_input.py --object example --input-only --out examples

.PHONY: cases
cases: env blender-env ## make the benchmark's procedural cases in the cache (minutes each)
	@$(BLENDER)/bin/python benchmarks/make_cases.py --out $(CACHE)/cases $(ARGS)

LOCK := uv pip compile --quiet --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header
.PHONY: lock
lock: ## resolve requirements/*.txt anew (needs uv); UPGRADE=1 takes the newest versions
	@command -v uv >/dev/null || { echo "make lock needs uv on the PATH" >&2; exit 1; }
	@$(LOCK) $(if $(UPGRADE),--upgrade) --universal --all-extras -c requirements/constraints.in \
		pyproject.toml -o requirements/dev.txt
	@$(LOCK) $(if $(UPGRADE),--upgrade) --universal requirements/uv.in -o requirements/uv.txt
	@$(LOCK) --universal -c requirements/dev.txt requirements/build.in -o requirements/build.txt
	@$(LOCK) --universal -c requirements/dev.txt --extra operator --extra api --extra s3 pyproject.toml \
		-o requirements/operator.txt
	@$(LOCK) --universal -c requirements/dev.txt --extra runner --extra s3 pyproject.toml -o requirements/runner-cpu.txt
	@$(LOCK) --universal -c requirements/dev.txt --extra runner --extra cuda --extra s3 pyproject.toml \
		-o requirements/runner-nvdiffrec.txt
	@$(subst 3.11,3.10,$(LOCK)) --python-platform x86_64-manylinux_2_28 --extra runner --extra s3 pyproject.toml \
		requirements/reconviagen.in -o requirements/runner-reconviagen.txt
	@$(LOCK) $(if $(UPGRADE),--upgrade) requirements/blender.in -o requirements/blender.txt

.PHONY: clean
clean: ## remove what was made here (.venv, out, caches); uv and Blender stay
	@rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@rm -rf $(CACHE)/numba
	@find $(PYTHON_DIRS) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
