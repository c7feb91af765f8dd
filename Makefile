# make demo     the whole path on a tiny model made on the spot (no GPU, no hub); the first time it sets up what it needs
# make test     the tests; likewise
# make test-engines  the real vLLM on the CPU behind the guard; GPU command lines against the engines' own parsers (some 4 GB)
# make test-engines-long  64 rough clients at vLLM, for a minute and for a quarter of an hour
# make menu     the menu, on this machine (the way for a Mac: Docker sees no GPU there)
# make setup    the front, the training environment and the chat page; afterwards the command is .venv/bin/appliance
# make setup-track  what sends a training's figures to Weights & Biases or SwanLab (fine-tune --track)
# make setup-deepspeed  DeepSpeed ZeRO for several cards (fine-tune --sharding zero2 or zero3)
# make setup-quantize   the environment for quantising, some 400 MB more
# make check    ruff, types, import contracts, shellcheck, hadolint
# make bench    ratios against peers, measured in one run
# make exact-table  the memory formula against the counted step, over the catalogue, into docs/estimate-exact.md
# make pictures the README's pictures of the menu, drawn again (docs/menu_*.svg)
# make image    the container image for this machine's kind (TARGET=cpu or TARGET=cuda)
# make test-image   build it and test it as people run it (DOCKER=podman for podman)
# make check-locks  can the locks of the CUDA image be installed? (they are only resolved, not downloaded)
# make lock     resolve requirements/*.in again

SHELL := /bin/sh
ENVS ?= $(or $(APPLIANCE_ENVS),$(CURDIR)/.envs)
# Processes that the tests are spread over, a file at a time.
SIDE ?= 2
DEV := $(ENVS)/dev/bin
PO := appliance/locale/zh_CN/LC_MESSAGES/messages.po
MO := $(PO:.po=.mo)
# The merge's sum in C. Without a compiler numpy does it, in more time.
SUM := appliance/merging/low_rank.so
TARGET ?= cpu
DOCKER ?= docker
# uv trusts what this machine trusts: behind a company's proxy its own list of authorities is not enough.
export UV_SYSTEM_CERTS ?= 1

.PHONY: setup setup-vllm setup-quantize setup-track setup-deepspeed dev demo menu test test-slow test-long test-engines test-engines-long check check-locks bench exact-table pictures image test-image messages lock clean

setup:
	@requirements/install.sh core train page
	@[ "$$(readlink .venv)" = "$(ENVS)/core" ] || { rm -rf .venv && ln -s "$(ENVS)/core" .venv; }
	@$(MAKE) --no-print-directory $(MO) $(SUM)
	@$(ENVS)/core/bin/python -m compileall -q appliance

setup-vllm:
	@requirements/install.sh vllm

setup-track:
	@requirements/install.sh track

setup-deepspeed:
	@requirements/install.sh deepspeed

setup-quantize: setup
	@requirements/install.sh quantize

dev: setup
	@requirements/install.sh track deepspeed quantize dev

$(MO): $(PO)
	@$(ENVS)/core/bin/pybabel -q compile -i $(PO) -o $(MO) -l zh_CN

$(SUM): appliance/merging/compile.sh appliance/merging/low_rank.c appliance/merging/low_rank.h
	@$<

demo: setup
	@.venv/bin/appliance demo

menu: setup
	@.venv/bin/appliance

test: dev
	$(DEV)/python -m pytest -n $(SIDE) --dist loadfile -m "not slow and not long and not engines"

test-slow: dev
	$(DEV)/python -m pytest -m "slow and not engines"

test-long: dev
	$(DEV)/python -m pytest -m "long and not engines"

test-engines: dev
	@requirements/install.sh test-engines
	$(DEV)/python -m pytest tests/engines -k "not crowd" -m "engines and not slow and not long"

test-engines-long: dev
	@requirements/install.sh test-engines
	$(DEV)/python -m pytest tests/engines -m "engines and (slow or long)"
	$(DEV)/python -m pytest tests/engines -k "crowd" -m "engines and not long"

check: dev
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy
	$(DEV)/lint-imports
	$(DEV)/shellcheck entrypoint.sh appliance/merging/compile.sh requirements/install.sh requirements/lock.sh .ci/run
	$(DEV)/hadolint Dockerfile

check-locks: setup
	env -u UV_FIND_LINKS $(ENVS)/uv/bin/uv pip sync --dry-run -q --python $(ENVS)/core/bin/python requirements/train-cuda.lock
	env -u UV_FIND_LINKS $(ENVS)/uv/bin/uv pip sync --dry-run -q --python $(ENVS)/core/bin/python requirements/quantize-cuda.lock
	env -u UV_FIND_LINKS $(ENVS)/uv/bin/uv pip sync --dry-run -q --python $(ENVS)/core/bin/python requirements/vllm.lock
	for engine in lmdeploy sglang; do \
	  env -u UV_FIND_LINKS $(ENVS)/uv/bin/uv pip sync --dry-run -q --python $(ENVS)/core/bin/python requirements/$$engine.lock || exit 1; \
	done

bench: dev
	$(DEV)/python bench/menu.py
	$(DEV)/python bench/estimate.py
	$(DEV)/python bench/data.py
	$(DEV)/python bench/guard.py
	$(DEV)/python bench/merge.py
	$(DEV)/python bench/training.py
	$(DEV)/python bench/transfer.py

exact-table: dev
	nice $(DEV)/python bench/exact.py --all --jobs 2 --write docs/estimate-exact.md

pictures: setup
	$(ENVS)/core/bin/python docs/picture.py

image:
	$(DOCKER) build -t appliance:$(TARGET) --target $(TARGET) .

test-image: dev image
	APPLIANCE_IMAGE=appliance:$(TARGET) APPLIANCE_ENGINE='$(DOCKER)' $(DEV)/python -m pytest tests/image

# New sentences into the catalogue; a test fails while one has no Chinese.
messages: dev
	$(DEV)/pybabel -q extract -F appliance/locale/babel.cfg -k marked --no-location --sort-output --omit-header -o /tmp/appliance.pot appliance
	$(DEV)/pybabel -q update -i /tmp/appliance.pot -o $(PO) -l zh_CN --no-fuzzy-matching --omit-header --ignore-obsolete

lock:
	cd requirements && ./lock.sh

clean:
	rm -rf .envs .venv
