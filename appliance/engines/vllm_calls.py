"""Loaded into vLLM with its own --tool-parser-plugin: between the parts of a call stands at most one space or newline.

vLLM holds a call's arguments to their schema, but its `disable_any_whitespace` is for answers in JSON only: in a call
a small model that must make one can go on with newlines until its tokens are used up, and then there is no call.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from vllm.tool_parsers.abstract_tool_parser import ToolParser
from xgrammar.structural_tag import JSONSchemaFormat

_form_of_calls = ToolParser.get_structural_tag


def _bounded_form(self: Any, *words: Any, **named: Any) -> Any:
    form = _form_of_calls(self, *words, **named)
    if form is not None:
        _bound(form.format)
    return form


def _bound(part: Any) -> None:
    if isinstance(part, JSONSchemaFormat):
        part.max_whitespace_cnt = 1
    elif isinstance(part, BaseModel):
        for value in vars(part).values():
            _bound(value)
    elif isinstance(part, list | tuple):
        for each in part:
            _bound(each)


ToolParser.get_structural_tag = _bounded_form
