"""Which layers read a norm's output and nothing else reads it: where AWQ and SmoothQuant may shift scales.

A norm's weights divided by scales and the columns of what reads it multiplied by them say the same, as long as nothing
else reads that output. llm-compressor looks this up in tables by the class's name; for a class that is not in them, or
whose norms stand elsewhere (Gemma 2 and 3 in SmoothQuant's table of 0.14), they are wrong. Here the model is watched.
"""

from __future__ import annotations

from typing import Any

Pair = tuple[str, list[str]]  # the names of a norm and of the linear layers that read it


def pairs(part: Any, name: str, model: Any, inputs: dict[str, Any]) -> list[Pair]:
    """The norms of `part` (named `name` in the model) whose output only linear layers of it read, running on `inputs`.

    Raises what the model raises.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    linear = {id(one.weight): at for at, one in part.named_modules() if isinstance(one, torch.nn.Linear)}
    put_out: dict[int, tuple[Any, str]] = {}  # by the output's id; the output is kept, so that no other gets its id
    readers: dict[str, list[str]] = {}
    other: set[str] = set()

    class Watched(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if getattr(function, "__name__", "") not in ("__get__", "size", "dim"):
                for place, value in enumerate([*args, *kwargs.values()]):
                    _output, norm = put_out.get(id(value), (None, ""))
                    if norm and function is torch.nn.functional.linear and place == 0 and id(args[1]) in linear:
                        readers.setdefault(norm, []).append(linear[id(args[1])])
                    elif norm:
                        other.add(norm)
            return function(*args, **kwargs)

    def hook(at: str) -> Any:
        def seen(_module: Any, _given: Any, output: Any) -> None:
            put_out[id(output)] = (output, at)

        return seen

    norms = {
        at: one
        for at, one in part.named_modules()
        if "norm" in type(one).__name__.lower() and getattr(getattr(one, "weight", None), "ndim", 0) == 1
    }
    handles = [one.register_forward_hook(hook(at)) for at, one in norms.items()]
    try:
        with torch.no_grad(), Watched():
            model(**inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    before = f"{name}." if name else ""
    return [
        (before + norm, [before + reader for reader in dict.fromkeys(found)])
        for norm, found in readers.items()
        if norm not in other
    ]


def inner(part: Any, name: str) -> list[Pair]:
    """Linear layers whose output reaches the next one scaled alike: values → attention's output, up → down.

    Not where a norm stands between them, nor where `up` goes through the activation itself (no gate beside it).
    """
    before = f"{name}." if name else ""
    found: list[Pair] = []
    for at, one in part.named_modules():
        has = {child for child, _module in one.named_children()}
        if {"v_proj", "o_proj"} <= has and "v_norm" not in has:
            found.append((f"{before}{at}.v_proj", [f"{before}{at}.o_proj"]))
        if {"gate_proj", "up_proj", "down_proj"} <= has:
            found.append((f"{before}{at}.up_proj", [f"{before}{at}.down_proj"]))
    return found
