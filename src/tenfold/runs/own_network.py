"""The user's own network in a run that is resumed: by its code, or by its list of layers."""

from __future__ import annotations

from dataclasses import replace

from tenfold.deployment.bundle import how_to_name
from tenfold.errors import FileRefusedError, UsageError, listing, shell_quoted
from tenfold.models.layers import output_shapes
from tenfold.models.own import OwnModel
from tenfold.paths import exists
from tenfold.runs.facts import PUT_BACK, RunFacts
from tenfold.runs.folder import RunFolder
from tenfold.runs.prepared import Prepared
from tenfold.runs.resources import Resources
from tenfold.tensors import differences, part_of
from tenfold.training.checkpoint import Checkpoint, checkpoint_files


def with_own_network(folder: RunFolder, facts: RunFacts, resources: Resources) -> Resources:
    """The resources with what makes the run's network, if that is the user's own.

    Raises:
        FileRefusedError: its code is needed, and was not named.
        UsageError: code was named, but the run's network is of the table.
    """
    code = resources.own
    if facts.own is None:
        if code is not None:
            raise UsageError(
                f"{folder}: its network is tenfold's {facts.context.recipe.get('model')}, which "
                "needs no other code",
                remedy=f"leave out {code.model}",
            )
        return resources
    if code is not None:
        return resources
    has_weights = bool(checkpoint_files(folder.checkpoints))
    if facts.layers is None or not has_weights:
        copy, remedy = folder.network, how_to_name(facts.own, facts.own_model)
        if facts.own.file and exists(copy):
            name = shell_quoted(f"{copy}:{facts.own.name}")
            remedy = f"{remedy}; a copy of it, without what it imports, is {name}"
        why = "" if has_weights else ", and the run has no checkpoint yet"
        raise FileRefusedError(
            f"{folder}: its network, {facts.own.model}, needs its code, which is run only if you "
            f"name it{why}",
            remedy=remedy,
        )
    try:
        output_shapes(facts.layers, facts.data.image_shape)
        return replace(resources, own=OwnModel.listed(facts.own, facts.layers))
    except UsageError as error:
        raise FileRefusedError(f"{folder.facts}: {error.message}", remedy=PUT_BACK) from error


def differences_in_code(folder: RunFolder, facts: RunFacts, prepared: Prepared) -> list[str]:
    """In what the code of a run's network is not that of its beginning, as notes.

    Raises:
        FileRefusedError: the network is another one.
    """
    before, now = facts.own, prepared.own_facts
    if before is None or now is None or prepared.own is None:
        return []
    if facts.layers is not None and facts.layers != prepared.layers:
        raise FileRefusedError(
            f"{folder}: {prepared.own.model} makes another network than the run was trained with",
            remedy=f"leave it out: the layers of {before.model} are in the run",
        )
    if before.frozen != now.frozen:
        raise FileRefusedError(
            f"{folder}: {prepared.own.model} trains other parameters than the run did",
            remedy="undo the change, or train a new run",
        )
    if facts.layers is not None or before.sha256 == now.sha256:
        return []
    note = (
        f"no longer bit-exact: {before.model} has changed since the run began; the epochs until "
        "now, perhaps the best among them, are of the earlier code"
    )
    return [note]


def require_same_weights(prepared: Prepared, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint of a network with other weights than the user's code makes.

    Raises:
        FileRefusedError: the code was changed, or makes another network.
    """
    if prepared.own is None or prepared.own.recorded is not None:
        return
    weights = part_of(part_of(checkpoint.tensors, "model"), "network")
    differing = differences(prepared.model.network.state_dict(), weights)
    if differing:
        raise FileRefusedError(
            f"{checkpoint.path}: its weights do not fit {prepared.own.model}: "
            f"{listing(differing, 5)}",
            remedy="undo the change to the code, or train a new run",
        )
