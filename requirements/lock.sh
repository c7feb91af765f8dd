#!/bin/sh
# Resolve every requirements/*.in again into its lock. CPU PyTorch is left out of train.lock and quantize.lock: install.sh adds it from
# torch-cpu.txt, so that one lock serves every machine without a GPU.
set -eu
cd "$(dirname -- "$0")"
uv=${APPLIANCE_ENVS:-../.envs}/uv/bin/uv
if [ -z "${UV_FIND_LINKS:-}" ]; then
  links=$(python3 -m pip config get global.find-links 2>/dev/null || true)
  [ -z "$links" ] || export UV_FIND_LINKS="$links"
fi
compile() { "$uv" pip compile -q --generate-hashes --no-header --python-version 3.11 "$@"; }
linux="--python-platform x86_64-manylinux_2_28"
compile --universal uv.in -o uv.lock
compile --universal core.in -o core.lock
compile --universal dev.in -o dev.lock
compile --universal page.in -o page.lock
# shellcheck disable=SC2086  # $linux is two words
compile $linux --no-emit-package torch train.in -o train.lock
# shellcheck disable=SC2086
compile $linux track.in -o track.lock
# shellcheck disable=SC2086
compile $linux --no-deps deepspeed.in -o deepspeed.lock
# shellcheck disable=SC2086
compile $linux --no-emit-package torch quantize.in -o quantize.lock
# What of torch vLLM's CPU build names but does without; torch itself comes from torch-cpu.txt.
without="--no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec"
# shellcheck disable=SC2086
compile $linux $without test-engines.in -o test-engines.lock
unset UV_FIND_LINKS
# shellcheck disable=SC2086
compile $linux --no-deps parsers.in -o parsers.lock
# shellcheck disable=SC2086
compile $linux train-cuda.in -o train-cuda.lock
# shellcheck disable=SC2086
compile $linux quantize-cuda.in -o quantize-cuda.lock
# shellcheck disable=SC2086
compile $linux vllm.in -o vllm.lock
# shellcheck disable=SC2086
compile $linux lmdeploy.in -o lmdeploy.lock
# shellcheck disable=SC2086
compile $linux sglang.in -o sglang.lock
