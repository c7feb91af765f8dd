#!/bin/sh
# Build low_rank.so beside its source, whole or not at all. Without a C compiler numpy does its work: slower, the same.
set -eu
cd -- "$(dirname -- "$0")"
# shellcheck disable=SC2086 # it may be several words: ccache gcc
set -- ${CC:-cc}
if ! command -v "$1" >/dev/null; then
  echo "no C compiler ($1): a merge will take longer" >&2
  exit 0
fi
new=low_rank.so.$$
trap 'rm -f "$new"' EXIT
# Contraction makes the fused multiply-add that BLAS has, too; without the attributes' processor there would be none.
if "$@" -O3 -ffp-contract=fast -Werror=attributes -fPIC -shared -Wall -o "$new" low_rank.c; then
  mv "$new" low_rank.so
else
  echo "low_rank.c could not be compiled: a merge will take longer" >&2
fi
