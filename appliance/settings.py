"""The only reader of environment variables, and every path in the workspace.

Environment variables (all optional):

    APPLIANCE_HOME       the workspace: models, datasets, jobs, settings (default ~/.appliance; /data in the image)
    APPLIANCE_ENVS       where the locked environments stand (default .envs beside the code; /opt/envs in the image)
    APPLIANCE_LANG       zh or en; wins over the locale, loses against --lang and the saved setting
    APPLIANCE_DEBUG      1 shows tracebacks
    APPLIANCE_IMAGE      1 inside the image
    APPLIANCE_CONTAINER  1 for the image's main process: its end is the container's end, so it must end the jobs cleanly
    APPLIANCE_TOKEN_HOSTS  hosts that may get HF_TOKEN and MODELSCOPE_API_TOKEN where HF_ENDPOINT or MODELSCOPE_ENDPOINT
                         names them; without it a mirror on the internet gets none
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

CODE_ROOT = Path(__file__).resolve().parent.parent

# What a worker's environment keeps of ours. A variable that is not here (a hub token, a cloud credential) reaches only
# the kind of job that names it in `jobs.submit`.
_PASSED_ON = {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ", "TERM", "TMPDIR", "SHELL",
    "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "PYTORCH_CUDA_ALLOC_CONF", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
    "CUDA_HOME", "COVERAGE_PROCESS_START",
}  # fmt: skip
_PASSED_ON_PREFIXES = ("APPLIANCE_",)
_PROXIES = (
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
)  # fmt: skip
HUB_VARIABLES = (
    "HF_ENDPOINT", "HF_TOKEN", "HF_HOME", "HF_HUB_DISABLE_XET", "MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN",
    "MODELSCOPE_DOMAIN", *_PROXIES,
)  # fmt: skip
# Where a training's figures can be followed, and what only that training's process may know; the key comes first.
TRACKERS = {
    "wandb": ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", *_PROXIES),
    "swanlab": ("SWANLAB_API_KEY", "SWANLAB_API_HOST", "SWANLAB_WEB_HOST", "SWANLAB_PROJECT", *_PROXIES),
}
# Where packages come from. Their locks have hashes: what another index has can only be the same or refused.
PACKAGE_VARIABLES = (
    "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX", "UV_HTTP_TIMEOUT", "PIP_INDEX_URL",
    *_PROXIES,
)  # fmt: skip
HUB_TOKENS = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}


def variable(name: str, default: str = "") -> str:
    """One environment variable, or the default."""
    return os.environ.get(name, default)


def home() -> Path:
    """The workspace: the one folder for everything that a user owns."""
    return Path(variable("APPLIANCE_HOME") or Path.home() / ".appliance").expanduser().absolute()


def jobs_folder() -> Path:
    """One folder a job stands in here."""
    return home() / "jobs"


def models_folder() -> Path:
    """Downloaded, imported and merged models, a folder each."""
    return home() / "models"


def datasets_folder() -> Path:
    """Data files that came with the demo or from a hub."""
    return home() / "datasets"


def locks_folder() -> Path:
    """One lock file per accelerator, held with flock by the worker that uses it."""
    return home() / "locks"


def keys_folder() -> Path:
    """The keys that open this workspace's servers, one file each."""
    return home() / "keys"


def requests_file(name: str) -> Path:
    """What clients asked the server of this name and what it answered; only where a person asked for it."""
    return home() / "requests" / f"{name}.jsonl"


def feedback_file() -> Path:
    """Thumbs up and down, a row each."""
    return home() / "feedback" / "rows.jsonl"


def user_profiles_folder() -> Path:
    """Profiles that a user dropped into the workspace; they win over the project's own."""
    return home() / "profiles"


def profiles_folder() -> Path:
    """The project's own profiles."""
    return CODE_ROOT / "profiles"


def environments_folder() -> Path:
    """The root under which each locked environment stands."""
    return Path(variable("APPLIANCE_ENVS") or CODE_ROOT / ".envs")


def engines_folder() -> Path:
    """Environments that a job installed into the workspace: engines that did not come with the appliance."""
    return home() / "engines"


def python_of(environment: str) -> Path:
    """The interpreter of a locked environment (`core`, `train`, `vllm`); it may not be there.

    What came with the appliance wins over what was installed into the workspace.
    """
    if environment == "core":
        return Path(sys.executable)
    python = environments_folder() / environment / "bin" / "python"
    brought = engines_folder() / environment / "bin" / "python"
    return brought if not python.exists() and brought.exists() else python


def child_environment(*extra: str) -> dict[str, str]:
    """The environment for a child process: a short list of harmless variables, plus those named in `extra`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES) or name in extra
    }
    kept["APPLIANCE_HOME"] = str(home())
    kept["PYTHONPATH"] = str(CODE_ROOT)
    kept["PYTHONUNBUFFERED"] = "1"
    # OpenMP's threads wait for each other by spinning; where another job shares the cores, a step of 30 ms becomes
    # seconds. Sleeping instead costs nothing that could be measured.
    kept.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The numbers of the cards as NVML and nvidia-smi count them; CUDA's own order is by speed.
    kept["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return kept


def stored_token(hub: str) -> str:
    """The token for `huggingface` or `modelscope` that a person gave here; "" for none."""
    try:
        return _token_file(hub).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def hub_token(hub: str) -> str:
    """The token for a hub: the environment variable, else the stored one, else ""."""
    return variable(HUB_TOKENS[hub]).strip() or stored_token(hub)


def store_token(hub: str, token: str) -> None:
    """Keep a hub's token where only its owner reads it (mode 0600); "" forgets it."""
    from appliance.files import write_text

    file = _token_file(hub)
    if not token:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(file, token + "\n", mode=0o600)


def _token_file(hub: str) -> Path:
    return home() / "tokens" / hub


def debug() -> bool:
    """Whether tracebacks are wanted."""
    return variable("APPLIANCE_DEBUG") not in ("", "0")


def in_container() -> bool:
    """Whether the front's end is the container's end."""
    return variable("APPLIANCE_CONTAINER") not in ("", "0")


def _settings_file() -> Path:
    return home() / "settings.json"


def in_image() -> bool:
    """Whether this is the project's own image."""
    return variable("APPLIANCE_IMAGE") not in ("", "0")


def serving_host(no_key: bool = False) -> str:
    """Where a server listens unless asked otherwise: this machine only.

    Inside the image, all of the container's addresses, since its loopback can't be reached from outside: there Docker's
    `-p` decides who gets in, and a key is always set.
    """
    return "0.0.0.0" if in_image() and not no_key else "127.0.0.1"  # noqa: S104


def saved() -> dict[str, Any]:
    """The settings that the menu keeps (`language`, `source` …); empty when there are none or they can't be read."""
    from appliance.files import read_json

    try:
        value = read_json(_settings_file())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def save(**changes: Any) -> None:
    """Change some settings and keep the others."""
    from appliance.files import write_json

    write_json(_settings_file(), {**saved(), **changes})
