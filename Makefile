# One place for every command; `make help` lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
RELEASED := --config_file configs/release.yaml --test_checkpoint weights/detector.safetensors
BLENDS := log/release_blends
# The stamps hold the requirements that were installed: nothing is installed twice.
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_BROWSER := $(VENV)/.ready-browser
READY_GENERATOR := $(VENV)/.ready-generator

.DEFAULT_GOAL := help
.PHONY: help install quickstart demo test test-slow test-browser chromium lint format bench generator release samples clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(READY) ## create .venv and install requirements.txt

quickstart: $(READY) ## train, test and explain a network on real photographs, in about 3 minutes
	@start=$$(date +%s) && set -e; \
	$(RUN) prepare.py portraits --out data/portraits --fakes.type warp \
		--split.shares .6,.2,.2; \
	$(RUN) train.py --config_file configs/quickstart.yaml; \
	$(RUN) test.py --config_file configs/quickstart.yaml --cam; \
	echo; echo "Quick start done in $$(( $$(date +%s) - start )) s (budget 300 s on 2 cores)."; \
	echo "Numbers with n and 95 % intervals: above. Open the report: log/quickstart/test/report.html"

demo: $(READY) ## open the web page that judges your own photos and films
	$(RUN) demo.py

test: $(READY_DEV) $(READY_GENERATOR) ## run the tests, one thread a process (within 10 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m "not slow and not browser" -n 2 --dist loadscope

test-slow: $(READY_DEV) ## run the slow tests, on real footage where it is there
	$(RUN) -m pytest -m slow

test-browser: $(READY_BROWSER) chromium ## run demo.py's tests in a real browser
	$(RUN) -m pytest -m browser

chromium:
	@if [ -z "$$(which chromium chromium-browser google-chrome 2>/dev/null)" ]; then \
		if [ "$$(id -u)" = 0 ] && which apt-get >/dev/null 2>&1; then \
			apt-get update -q && apt-get install -qy --no-install-recommends chromium; \
		else \
			echo "Chromium is needed: sudo apt-get install chromium"; exit 1; \
		fi; \
	fi

lint: $(READY_DEV) ## check style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy .

format: $(READY_DEV) ## mend style and format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(READY_DEV) ## print speed ratios against named references
	$(RUN) -m benchmarks.training
	$(RUN) -m benchmarks.scale
	$(RUN) -m benchmarks.prepare
	$(RUN) -m benchmarks.fakes
	$(RUN) -m benchmarks.predict

generator: $(READY_GENERATOR) ## install what draws faces of nobody (python -m fakes.generated)

release: $(READY_GENERATOR) ## train the released detector again: make release DATA=manifest.csv
	@test -f "$(DATA)" || { echo "Name a manifest with splits: make release DATA=manifest.csv"; exit 1; }
	$(RUN) -m fakes.generated --count 1000 # they train as nothing but faces that are pasted
	$(RUN) train.py --config_file configs/release.yaml --data.train "$(DATA)"
	$(RUN) train.py --config_file configs/release.yaml --data.train "$(DATA)" --prefix $(BLENDS) \
		--fakes.mix blend --num_epochs 6
	$(RUN) calibrate.py --config_file configs/release.yaml --data.train "$(DATA)" \
		--members $(BLENDS)/checkpoints/best.pth --half True --tta flip --films.frames 16 \
		--out weights/detector.safetensors # and rows.csv beside it
	$(RUN) test.py $(RELEASED) --data.test "$(DATA)" --card README.md#released
	$(RUN) test.py $(RELEASED) --data.test "$(DATA)" --robustness --perturb.count 400 \
		--subgroups source,method,face_side --card weights/README.md#own
	@echo "Now the clips' table of weights/README.md, and the sentences that quote the tables of before:"
	@echo "pytest tests/test_released.py names most"

samples: $(READY_DEV) ## make samples/ again
	$(RUN) -m samples.make

clean: ## remove the quick start's data and run, and the cache of faces
	rm -rf data/portraits data/cache log/quickstart

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install -r requirements.txt
	@touch $@

$(READY_DEV): requirements-dev.txt $(READY)
	$(RUN) -m pip install -r requirements-dev.txt
	@touch $@

# Without what random-face asks for, an older OpenCV among it: its weights are all that is used.
$(READY_GENERATOR): requirements-generator.txt $(READY)
	$(RUN) -m pip install -r requirements-generator.txt
	$(RUN) -m pip install --no-deps random-face==2021.7.21.1
	@touch $@

$(READY_BROWSER): requirements-browser.txt $(READY_DEV)
	$(RUN) -m pip install -r requirements-browser.txt
	@touch $@
