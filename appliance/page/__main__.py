"""`python -m appliance.page SETTINGS.json`: the chat page of one server, until it is ended.

Settings (no secrets in them): `address` of the server (ends in /v1), `names` that it serves, `keys` as in the guard's,
`host`, `port`, `instance`, `rows` (where thumbs are kept).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from appliance import files
from appliance.engines.patience import patient
from appliance.page import door, words

# What gradio can do and a conversation does not need.
_OFF = ("run_history", "show_error", "ssr_mode", "enable_monitoring", "pwa", "mcp_server")


def main() -> None:
    """Serve; SIGTERM ends it."""
    told = files.read_json(Path(sys.argv[1]))
    os.umask(0o077)
    # Before gradio is imported: it asks its maker for the newest version otherwise, and tells him of each start.
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.update(GRADIO_RUN_HISTORY="False", GRADIO_TEMP_DIR=str(Path.cwd() / "page-files"))

    import uvicorn

    sentences = words.all_of_them(told["names"][0], told["keys"] is not None)
    outside = door.Door(_unready, told["keys"], told["port"], told["instance"], sentences)
    outside.app = _app(told, outside, sentences)
    uvicorn.run(
        outside,
        host=told["host"],
        port=told["port"],
        http=patient(),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )


async def _unready(_scope: Any, _receive: Any, _send: Any) -> None:
    raise RuntimeError("the page is not made yet")


def _app(told: dict[str, Any], outside: door.Door, sentences: dict[str, dict[str, str]]) -> Any:
    """gradio's app, with all that can be switched off."""
    import gradio as gr
    from fastapi import FastAPI

    from appliance.page.talk import blocks

    def key_of(cookie: str) -> str | None:
        return outside.key(cookie) if outside.keyring.wanted else "none"

    page = blocks(told["address"], told["names"], Path(told["rows"]), sentences, key_of)
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        footer_links=["settings"],
        allowed_paths=[],
        blocked_paths=["/"],
        max_file_size=0,
        i18n=page.i18n_instance,
        **dict.fromkeys(_OFF, False),
    )


if __name__ == "__main__":
    main()
