# Two commands need nothing but Python 3.11 to 3.13:  make demo  and  make test

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
NEWEST = .venv-newest
LOCKED = tools/install-locked.sh $(BIN)/python
CAMERA_BENCH = $(or $(EDGEINSPECT_CAMERA_BENCH),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/edgeinspect/camera-bench)
# Files of tests on every core; a file's tests stay together, because they share what they build.
IN_PARALLEL ?= --numprocesses logical --maxprocesses 4 --dist loadfile
DEMO ?= --parts 300
SIM_PARTS ?= 1000000
KILLS ?= 10000
FULL_KILLS ?= 1000
IMAGE ?= build/image
CONVERTERS ?= $(HOME)/.cache/edgeinspect/converters

.PHONY: docs release lock test-newest image-qemu test-image test-image-long test-vm help demo test check lint types test-slow test-camera test-converters test-training test-kills test-kills-full test-million test-mutants bench model clean

help:
	@echo "make demo          run the station on the simulated line, with the shipped model"
	@echo "make test          run the tests"
	@echo "make check         ruff, mypy --strict, the tests and their coverage: what CI runs"
	@echo "make docs          build the documentation site into build/site; a broken link is an error"
	@echo "make test-slow     the longer tests (minutes)"
	@echo "make test-newest   the tests with the newest libraries that pyproject.toml allows"
	@echo "make lock          renew requirements.lock, the versions that all of these use"
	@echo "make test-camera   the real picamera2 on libcamera's virtual cameras (builds them first: 10 min)"
	@echo "make test-converters the converters for PyTorch and ONNX (makes their environments, 5 GB)"
	@echo "make test-training the tests that train against the clock; only on an idle machine"
	@echo "make test-vm       the drivers on real kernel devices, in a virtual machine (needs root)"
	@echo "make image-qemu    build the arm64 image for the emulated machine (needs root)"
	@echo "make test-image    boot it: inspection, logins, untrusted updates (20 min)"
	@echo "make test-image-long  the same with updates, first starts, failures and 20 power cuts (hours)"
	@echo "make test-kills    kill the recorder KILLS=10000 times (minutes)"
	@echo "make test-kills-full  kill it FULL_KILLS=1000 times with the disk full (minutes)"
	@echo "make test-million  simulate SIM_PARTS=1000000 parts a gate with every fault (20 min a gate)"
	@echo "make test-mutants  change the code of the part's path in 2,000 ways; a test must fail each time (an hour)"
	@echo "make bench         measure this machine"
	@echo "make release       build both packages into dist/, with checksums; publishes nothing"
	@echo "make model         train the shipped model again (20 min)"

demo: $(VENV)/.station
	$(BIN)/edgeinspect demo $(DEMO)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(IN_PARALLEL) --cov --cov-report=term:skip-covered --cov-fail-under=85

check: lint types test

# The bench is built for Python 3.11 or later once, outside the repository; 10 minutes.
test-camera:
	PYTHON=$(PYTHON) tests/camera_bench/build.sh
	$(CAMERA_BENCH)/venv/bin/python -m pytest tests/camera_bench

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow --timeout 1200

test-converters: $(VENV)/.dev
	EDGEINSPECT_CONVERTERS=$(CONVERTERS) $(BIN)/python -m pytest tests/tools/test_tools_convert.py \
	  -m slow -k "pytorch or onnx" --timeout 3600

test-training: $(VENV)/.dev
	$(BIN)/python -m pytest -m training --timeout 1800

# Needs root and the packages that  python3 -m image.qemu.build --packages  prints. Downloads are
# kept in EDGEINSPECT_IMAGE_CACHE. IMAGE is built once and used by both kinds of tests.
image-qemu: $(VENV)/.dev
	$(BIN)/python -m image.qemu.build $(IMAGE)

test-image: $(VENV)/.dev
	EDGEINSPECT_IMAGE=$(IMAGE) $(BIN)/python -m pytest image/tests --timeout 1200 \
	  --log-cli-level=INFO

test-image-long: $(VENV)/.dev
	[ -e $(IMAGE)/samples/broken.raucb ] || $(BIN)/python -m image.qemu.build $(IMAGE) --samples
	EDGEINSPECT_IMAGE=$(IMAGE) $(BIN)/python -m pytest image/tests --timeout 14400 \
	  -m "slow or not slow" --power-cuts 20 --log-cli-level=INFO

test-vm: $(VENV)/.dev
	$(BIN)/python -m tests.vm test

test-kills: $(VENV)/.dev
	$(BIN)/python -m tests.evidence.kill_records --kills $(KILLS)

test-kills-full: $(VENV)/.dev
	$(BIN)/python -m tests.evidence.kill_records --full-disk --kills $(FULL_KILLS)

test-million: $(VENV)/.dev
	for gate in normally-rejecting normally-passing normally-passing-guarded; do \
	  $(BIN)/edgeinspect sim --parts $(SIM_PARTS) --seed 1 --faults all --gate $$gate --jobs 2 \
	  || exit 1; done

test-mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutation $(MUTANTS)

bench: $(VENV)/.dev
	$(BIN)/edgeinspect-tools bench station

model: $(VENV)/.dev
	$(BIN)/python -m edgeinspect_tools.shipped.sim_surface.train_sim --out models/sim-surface

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "edgeinspect needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version)."; \
	  echo "Name another one:  make PYTHON=python3.12 demo"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Python cannot make a virtual environment here. Install it and try again:"; \
	  echo "  sudo apt install python3-venv"; exit 2; }
	@touch $@

$(VENV)/.station: $(VENV)/.made pyproject.toml requirements.lock
	$(LOCKED) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml tools/pyproject.toml requirements.lock
	$(LOCKED) --editable ".[dev]" --editable ./tools
	@touch $@ $(VENV)/.station

# One resolution of both packages for Python 3.11 to 3.13 on x86-64 and aarch64. [legacy] is not in
# it: pyproject.toml pins its versions, which contradict everything else. Run `make check` before you commit it.
lock: $(VENV)/.made
	tools/install-locked.sh $(BIN)/python uv
	$(BIN)/uv pip compile pyproject.toml tools/pyproject.toml --group install --extra dev \
	  --extra gpiod --extra rpi --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-annotate --no-emit-package edgeinspect --no-emit-index-url \
	  --custom-compile-command "make lock" --quiet --output-file requirements.lock

release: $(VENV)/.dev
	tools/install-locked.sh $(BIN)/python uv
	tools/build-release.sh $(BIN)

test-newest: $(VENV)/.dev
	[ -e $(NEWEST)/bin/python ] || $(PYTHON) -m venv $(NEWEST)
	$(BIN)/uv pip install --quiet --python $(NEWEST)/bin/python --upgrade --editable ".[dev]" \
	  --editable ./tools pip
	$(BIN)/python -m tests.newest $(NEWEST)/bin/python

clean:
	rm -rf $(VENV) $(NEWEST) build dist *.egg-info
