# make demo · make test · make check · make bench: each sets up everything it needs on a fresh machine, with the
# versions of constraints.txt. make latest: the tests with the newest versions that pyproject.toml allows.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LATEST := .venv-latest
# Two processes; a file's tests stay in one, with the fixtures that they share. Sorted by their number of tests, as the
# plugin would have it, files of one long test would come last and keep one process waiting.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test check fuzz bench experiments pictures rooms latest constraints clean

# On a machine with a display the demo opens napari; without one it runs under Xvfb and leaves demo.png.
demo: $(READY)
	@if [ "$$(uname)" = Darwin ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		$(BIN)/napari-uld demo; \
	else \
		sh .ci/system-packages && xvfb-run -a -s "-screen 0 1600x1000x24" $(BIN)/napari-uld demo --screenshot demo.png; \
	fi

test: $(READY)
	@sh .ci/system-packages
	$(BIN)/pytest $(SIDE_BY_SIDE)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Damages files at random for ten minutes each: every one is read or refused, as a second decoder does.
fuzz: $(READY)
	$(BIN)/python -m tests.trust.fuzz_readers --seconds 600
	$(BIN)/python -m tests.trust.fuzz_files --seconds 600

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[qt,dev,bench]'
	$(BIN)/napari-uld phantom runs/phantoms/test --patients 120 --seed 12
	$(BIN)/python benchmarks/bench_reading.py
	$(BIN)/python benchmarks/bench_targets.py
	$(BIN)/python benchmarks/bench_anchor_search.py
	$(BIN)/python benchmarks/bench_froc.py
	$(BIN)/python benchmarks/bench_grabcut.py runs/phantoms/test
	$(BIN)/python benchmarks/bench_proposals.py runs/phantoms/test --every 4
	$(BIN)/python benchmarks/bench_phantom_difficulty.py --patients 24
	$(BIN)/python benchmarks/bench_shared_features.py --every 8
	$(BIN)/python benchmarks/bench_detection.py runs/phantoms/test
	$(BIN)/python benchmarks/bench_retinanet.py runs/phantoms/test
	$(BIN)/python benchmarks/bench_sliding.py

# Trains and scores what the tables in docs still lack (hours on two cores), and checks the README's figures.
experiments: $(READY)
	$(BIN)/napari-uld phantom runs/phantoms/train --patients 500 --seed 11
	$(BIN)/napari-uld phantom runs/phantoms/test --patients 120 --seed 12
	$(BIN)/napari-uld phantom runs/phantoms/train_3_phases --patients 200 --seed 21 --phases 3
	$(BIN)/napari-uld phantom runs/phantoms/test_3_phases --patients 100 --seed 22 --phases 3
	mkdir -p runs/experiments && cp -Rn benchmarks/results/. runs/experiments/
	$(BIN)/napari-uld experiments
	$(BIN)/napari-uld experiments --timing --tables docs/experiments.md
	$(BIN)/python benchmarks/bench_own_key_slices.py runs/experiments runs/phantoms
	$(BIN)/pytest -m slow

# Renews the pictures in docs.
pictures: $(READY)
	@sh .ci/system-packages
	NAPARI_CONFIG= xvfb-run -a -s "-screen 0 1600x1000x24" $(BIN)/python docs/pictures.py

# Every panel at two sizes in both themes, to be looked at.
rooms: $(READY)
	@sh .ci/system-packages
	NAPARI_CONFIG= xvfb-run -a -s "-screen 0 1920x1080x24" $(BIN)/python docs/rooms.py runs/rooms

# The tests with the newest versions, in an environment of their own.
latest:
	rm -rf $(LATEST)
	@sh .ci/make-venv $(PYTHON) $(LATEST)
	@sh .ci/system-packages
	$(LATEST)/bin/python -m pip install --quiet --upgrade pip
	$(LATEST)/bin/python -m pip install --quiet --editable '.[qt,dev,bench]'
	$(LATEST)/bin/python -m pytest $(SIDE_BY_SIDE)

# Writes down what `make latest` tried. torch pins what it needs for CUDA itself, by platform.
constraints:
	grep '^#' constraints.txt > constraints.new
	$(LATEST)/bin/python -m pip freeze --all --exclude-editable | grep -viE '^(nvidia|cuda)-|^(triton|pip)=' >> constraints.new
	mv constraints.new constraints.txt

$(READY): pyproject.toml constraints.txt
	@sh .ci/make-venv $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[qt,dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(LATEST) build dist .pytest_cache .mypy_cache .ruff_cache
