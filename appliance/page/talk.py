"""The page itself, made with gradio: a conversation, streamed, and thumbs that become rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

from appliance.data import feedback
from appliance.page.door import language

# Who waits in gradio's queue; beyond it the page says that it is full.
_AT_ONCE, _WAITING = 16, 64
_TIMEOUT_SECONDS = 600.0
_LONGEST = 200_000


def blocks(
    address: str, names: list[str], rows: Path, words: dict[str, dict[str, str]], key_of: Callable[[str], str | None]
) -> gr.Blocks:
    """The page for the server at `address` (ends in /v1). `key_of`: from a Cookie header to its owner's key."""
    text = gr.I18n(**words)
    # A proxy has no business between the page and its server: it would hear the key.
    client = AsyncOpenAI(
        base_url=address,
        api_key="none",
        max_retries=0,
        timeout=_TIMEOUT_SECONDS,
        http_client=DefaultAsyncHttpxClient(trust_env=False),
    )

    async def answer(question: str, said: list[dict[str, Any]], model: str, request: gr.Request) -> AsyncIterator[str]:
        tell = words[language(request.headers.get("accept-language", ""))]
        key = key_of(request.headers.get("cookie", ""))
        if key is None:
            raise gr.Error(tell["gone"], print_exception=False)
        messages: Any = [*map(_plain, said), {"role": "user", "content": question}]
        written = ""
        try:
            stream = await client.with_options(api_key=key).chat.completions.create(
                model=model if model in names else names[0],
                messages=messages,
                stream=True,
            )
            async with stream:
                async for event in stream:
                    for choice in event.choices:
                        written += choice.delta.content or ""
                    yield written
        except OpenAIError as error:
            body = getattr(error, "body", None)
            why = str((body or {}).get("message") or error) if isinstance(body, dict | None) else str(error)
            raise gr.Error(tell["failed"].format(why=why), print_exception=False) from error

    def judge(said: list[dict[str, Any]], model: str, thumb: gr.LikeData, request: gr.Request) -> None:
        tell = words[language(request.headers.get("accept-language", ""))]
        if key_of(request.headers.get("cookie", "")) is None:
            raise gr.Error(tell["gone"], print_exception=False)
        at = thumb.index[0] if isinstance(thumb.index, list | tuple) else thumb.index
        if thumb.liked in (True, False) and 0 < at < len(said):
            feedback.add(rows, model if model in names else names[0], list(map(_plain, said[: at + 1])), thumb.liked)
            gr.Info(tell["kept"], duration=2)

    with gr.Blocks(title=text("title"), analytics_enabled=False, fill_height=True) as page:
        chosen = gr.Dropdown(names, value=names[0], label=text("model"), render=False)
        chatbot = gr.Chatbot(
            render=False,
            show_label=False,
            scale=1,
            buttons=["copy"],
            feedback_options=["Like", "Dislike"],
            allow_tags=False,
            allow_file_downloads=False,
            latex_delimiters=[],
        )
        gr.ChatInterface(
            answer,
            chatbot=chatbot,
            textbox=gr.Textbox(
                placeholder=text("ask"),
                show_label=False,
                container=False,
                scale=7,
                submit_btn=True,
                stop_btn=True,
                max_length=_LONGEST,
                render=False,
            ),
            additional_inputs=[chosen],
            additional_inputs_accordion=gr.Accordion(
                label=text("model"), open=len(names) > 1, visible=len(names) > 1, render=False
            ),
            title=text("title"),
            flagging_mode="never",
            analytics_enabled=False,
            api_visibility="private",
            concurrency_limit=_AT_ONCE,
        )
        chatbot.like(judge, [chatbot, chosen], None, api_visibility="private")
        gr.Markdown(text("foot"))
    page.queue(api_open=False, max_size=_WAITING)
    page.i18n_instance = text
    return page


def _plain(message: dict[str, Any]) -> dict[str, str]:
    """A message of gradio's as OpenAI has it: its text."""
    content = message["content"]
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return {"role": str(message["role"]), "content": str(content)}
