"""Checkpoints of runs that older versions of tenfold began, with today's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from tenfold.models.older import renamed_weights
from tenfold.runs.facts import upgraded_conditions, upgraded_context
from tenfold.training.checkpoint import Checkpoint


def upgraded(checkpoint: Checkpoint) -> Checkpoint:
    """A run's checkpoint of any version, as the current version would have written it."""
    if checkpoint.version == 1:
        checkpoint = _from_version_1(checkpoint)
    if checkpoint.version <= 2:
        checkpoint = _from_version_2(checkpoint)
    if checkpoint.version <= 6:
        context = upgraded_context(checkpoint.header.context)
        checkpoint = _renamed(checkpoint, {}, context=context)
    return checkpoint


def _from_version_1(checkpoint: Checkpoint) -> Checkpoint:
    """The network was the second module of a sequence, and conditions had other names."""
    context = dict(checkpoint.header.context)
    if isinstance(context.get("conditions"), Mapping):
        context["conditions"] = upgraded_conditions(context["conditions"])
    names = [*checkpoint.header.parameters, *checkpoint.tensors]
    network = re.compile(r"((?:model\.|averaged\.|best\.)?)1\.(.+)")
    new_names = {name: network.sub(r"\1network.\2", name) for name in names if network.match(name)}
    return _renamed(checkpoint, new_names, context=context)


def _from_version_2(checkpoint: Checkpoint) -> Checkpoint:
    """Some of the network's weights had other names."""
    recipe = checkpoint.header.context.get("recipe")
    if not isinstance(recipe, Mapping):
        return checkpoint
    model, arguments = recipe.get("model"), recipe.get("model_args")
    names = [*checkpoint.header.parameters, *checkpoint.tensors]
    new_names: dict[str, str] = {}
    for prefix in ("network.", "model.network.", "averaged.network.", "best.network."):
        new_names |= renamed_weights(model, arguments, names, prefix=prefix)
    return _renamed(checkpoint, new_names)


def _renamed(checkpoint: Checkpoint, new_names: Mapping[str, str], **changes: object) -> Checkpoint:
    """The checkpoint with some parameters and tensors renamed, and other changes in its header."""
    header, tensors = checkpoint.header, checkpoint.tensors
    parameters = [new_names.get(name, name) for name in header.parameters]
    return replace(
        checkpoint,
        header=header.model_copy(update={"parameters": parameters, **changes}),
        tensors={new_names.get(name, name): tensor for name, tensor in tensors.items()},
    )
