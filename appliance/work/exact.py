"""`appliance estimate --exact`: one real training step under fake tensors, every storage counted. No GPU, no weights.

    python -m appliance.work.exact SETTINGS.json

in the training environment. SETTINGS.json: folder (with a config.json), method, rank, targets (names of linear layers,
or null for all), batch, length, optimizer, checkpointing, attention ("eager", or null), loss, double (NF4's double
quantisation), ours (TRL's 16-bit adapters over packed weights); or a list of such. Prints one JSON object a line:
moments (before, forward, head, backward, update: for each the bytes by label when most were alive in it), versions; or
error.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode

from appliance import files
from appliance.errors import ApplianceError
from appliance.locale import _
from appliance.work import stand_ins
from appliance.work.storages import Storages

DTYPE = torch.bfloat16


def count(settings: dict[str, Any]) -> dict[str, Any]:
    """The step's peak. Raises ApplianceError for a model that transformers does not have or that can't be run so."""
    model = _model(Path(settings["folder"]), settings)
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    storages = Storages()
    with stand_ins.installed():
        with fakes:
            _make_fake(model)
        for parameter in model.parameters():
            adapter = settings["method"] != "full" and parameter.requires_grad
            storages.see(parameter, "adapter" if adapter else "weights")
        for buffer in model.buffers():
            storages.see(buffer, "weights")
        try:
            with fakes, storages:
                _steps(model, settings, storages)
        except Exception as error:
            raise ApplianceError(
                _("A step of this model can't be counted."),
                _reason(error),
                _("Leave --exact out: the formula knows its shape."),
            ) from error
    return {"moments": storages.peaks}


def _model(folder: Path, settings: dict[str, Any]) -> Any:
    """The model on `meta` as the worker sets it up: packed, adapted, checkpointing, with TRL's head."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                config, dtype=DTYPE, attn_implementation=settings["attention"], trust_remote_code=False
            )  # None: what the model's class chooses, as the worker does
            if settings["method"] == "qlora":
                stand_ins.pack(model, double=settings["double"])
    except Exception as error:  # whatever a model's class makes of a configuration
        raise ApplianceError(
            _("The model in {folder} can't be built from its config.json.").format(folder=folder),
            _reason(error),
            _("The training environment's transformers must have its class; leave --exact out for the formula."),
        ) from error
    model.config.use_cache = False
    if settings["checkpointing"]:
        model.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False, "preserve_rng_state": False}
        )
    head = model
    if settings["method"] != "full":
        model = _adapted(model, settings)
        if settings["checkpointing"]:
            model.enable_input_require_grads()
    if settings["loss"] == "fused":
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(head, outputs=("log_probs", "entropy", "is_top1"))
    return model.train()


def _reason(error: Exception) -> str:
    """One line of what a library says; its kind where it says nothing."""
    words = " ".join(str(error).split())
    return words[:300] if words else type(error).__name__


def _adapted(model: Any, settings: dict[str, Any]) -> Any:
    from peft import LoraConfig, get_peft_model

    targets: Any = "all-linear"
    if settings["targets"]:
        names = {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
        targets = sorted(names & set(settings["targets"]))
    config = LoraConfig(
        r=settings["rank"], target_modules=targets, use_dora=settings["method"] == "dora", task_type="CAUSAL_LM"
    )
    try:
        adapted = get_peft_model(model, config, low_cpu_mem_usage=True)
    except ValueError as error:
        raise ApplianceError(
            _("The adapter does not fit this model."),
            _reason(error),
            _("Leave --targets out, for every linear layer."),
        ) from error
    if settings["method"] == "qlora" and settings["ours"]:  # as TRL does
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(DTYPE)
    return adapted


def _make_fake(model: Any) -> None:
    """Each parameter and buffer on `meta` becomes a fake one; tied ones stay tied."""
    made: dict[int, Any] = {}

    def fake(tensor: Any) -> Any:
        if id(tensor) not in made:
            new = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cpu")
            if isinstance(tensor, torch.nn.Parameter):
                new = torch.nn.Parameter(new, requires_grad=tensor.requires_grad)
            made[id(tensor)] = (new, tensor)  # the old one stays, so that its id stays its own
        return made[id(tensor)][0]

    for module in model.modules():
        for kind in (module._parameters, module._buffers, module.__dict__):
            for name, tensor in list(kind.items()):
                if isinstance(tensor, torch.Tensor):
                    kind[name] = fake(tensor)


def _steps(model: Any, settings: dict[str, Any], storages: Storages) -> None:
    """The first optimizer's step, which makes its states, then one whole step among accumulated gradients."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = stand_ins.optimizer(settings["optimizer"], trained)
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
        storages.see(parameter.grad, "gradients")
    _update(optimizer, trained, storages)
    batch, length = settings["batch"], settings["length"]
    inputs: dict[str, Any] = {"input_ids": torch.zeros(batch, length, dtype=torch.long), "use_cache": False}
    if batch > 1:  # rows of several lengths: the longest decides, and the others need a mask
        inputs["attention_mask"] = torch.ones(batch, length, dtype=torch.long)
    inputs["labels"] = torch.zeros(batch, length, dtype=torch.long)
    _mark_logits(model if settings["method"] == "full" else model.get_base_model(), storages)
    storages.moment = "forward"
    with torch.autocast("cpu", dtype=DTYPE):
        loss = _loss(model, inputs, fused=settings["loss"] == "fused")
    loss.backward()
    storages.moment = "update"
    _update(optimizer, trained, storages)


def _loss(model: Any, inputs: dict[str, Any], *, fused: bool) -> Any:
    """As SFTTrainer.compute_loss; what is not needed for the backward pass is gone on return."""
    if not fused:
        return model(**inputs).loss
    made = model(**inputs, fused_lm_head=True)
    return (-made.log_probs).sum() / made.label_mask.sum().clamp(min=1)


def _mark_logits(model: Any, storages: Storages) -> None:
    """From the last hidden state to its gradient, what is new belongs to the logits."""

    def back(gradient: Any) -> None:
        storages.label, storages.moment = "activations", "backward"

    def ahead(_module: Any, _inputs: Any, output: Any) -> None:
        storages.label, storages.moment = "logits", "head"
        output.last_hidden_state.register_hook(back)

    model.base_model.register_forward_hook(ahead)


def _update(optimizer: Any, trained: list[Any], storages: Storages) -> None:
    with torch.no_grad():
        if isinstance(optimizer, torch.optim.Optimizer):
            torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
    optimizer.step()
    for state in optimizer.state.values():
        for tensor in state.values():
            if isinstance(tensor, torch.Tensor):
                storages.see(tensor, "optimizer")


def main() -> int:
    """An answer a line on stdout; exit code 1 where one of them is an error."""
    transformers.logging.set_verbosity_error()
    given = files.read_json(Path(sys.argv[1]))
    libraries = {name: version(name) for name in ("torch", "transformers", "peft", "trl")}
    failed = False
    for settings in given if isinstance(given, list) else [given]:
        try:
            answer = {**count(settings), "versions": libraries}
        except ApplianceError as error:
            failed, answer = True, {"error": error.as_dict()}
        print(json.dumps(answer), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
