"""Published figures beside measured ones, as a table for a terminal and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.errors import printable

COLUMNS = ("figure", "published", "measured", "verdict")

INTERVALS = (
    "Accuracies have the number of images n that they were counted on, and Wilson's 95 % interval: "
    "how far the choice of these images moves them. What another seed does is not in it. The "
    "seconds are of this one run, beside whatever else the machine was doing."
)

_LABELS = {"evaluated_train_acc": "train_acc of a pass", "rises": "rises of train_loss"}


def reproduction_text(facts: Mapping[str, Any]) -> str:
    """All recipes' tables for a terminal.

    Args:
        facts: what `Reproduction.to_dict` gives.
    """
    blocks = [_recipe_text(recipe) for recipe in facts["recipes"]]
    return "\n\n".join([*blocks, f"{summary(facts)}\nwritten to {printable(facts['folder'])}"])


def reproduction_markdown(facts: Mapping[str, Any]) -> str:
    """The same as a Markdown document, with the machine and the command.

    Args:
        facts: what `Reproduction.to_dict` gives.
    """
    machine = facts["machine"]
    lines = ["# Published and measured here", ""]
    if facts["command"]:
        lines += ["```", facts["command"], "```", ""]
    measured_on = (
        f"Measured on {machine['cpu']} ({machine['platform']}, {machine['cores']} cores), device "
        f"{machine['device']}, {machine['threads']} threads, with torch {machine['torch']}, "
        f"tenfold {machine['tenfold']} and Python {machine['python']}."
    )
    lines += [f"{summary(facts)}.", "", measured_on, "", INTERVALS]
    for recipe in facts["recipes"]:
        lines += ["", *_recipe_markdown(recipe)]
    return "\n".join(lines) + "\n"


def summary(facts: Mapping[str, Any]) -> str:
    """How many figures got which verdict."""
    counts = Counter(
        figure["verdict"] for recipe in facts["recipes"] for figure in recipe["figures"]
    )
    counted = ", ".join(f"{verdict}: {count}" for verdict, count in counts.most_common())
    return f"{_figures(counts.total())} ({counted})"


def _recipe_text(recipe: Mapping[str, Any]) -> str:
    if recipe["run"] is None:
        return f"{recipe['recipe']} {_where(recipe)}\n  {_why_not(recipe)}"
    lines = [f"{recipe['recipe']} {_circumstances(recipe)}"]
    rows = [COLUMNS, *(_row(figure) for figure in recipe["figures"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    for row in rows:
        cells = "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
        lines.append(f"  {cells}{row[-1]}")
    lines += [f"  the run warned: {printable(note, 2000)}" for note in recipe["notes"]]
    return "\n".join([*lines, f"  run {printable(recipe['run'])}"])


def _recipe_markdown(recipe: Mapping[str, Any]) -> list[str]:
    heading = [f"## `{recipe['recipe']}`", ""]
    if recipe["run"] is None:
        return [*heading, f"Not trained to the end {_where(recipe)}: {_why_not(recipe)}."]
    lines = [*heading, f"Trained {_circumstances(recipe)}.", ""]
    columns = ("figure", "what it is", "published", "reproduced if", "measured", "verdict")
    lines += [_markdown_row(columns), _markdown_row(["---"] * len(columns))]
    for figure in recipe["figures"]:
        label, published, measured, verdict = _row(figure)
        cells = (label, figure["meaning"], published, _accepted(figure), measured, verdict)
        lines.append(_markdown_row(cells))
    for note in recipe["notes"]:
        lines += ["", f"The run warned: {printable(note, 2000)}."]
    return lines


def _why_not(recipe: Mapping[str, Any]) -> str:
    """The verdicts on a recipe without a run: they are the same for all figures, or nearly."""
    verdicts = dict.fromkeys(
        f"{figure['verdict']}: {figure['reason']}" for figure in recipe["figures"]
    )
    return f"{_figures(len(recipe['figures']))}, {printable('; '.join(verdicts), 2000)}"


def _circumstances(recipe: Mapping[str, Any]) -> str:
    """On what, for how long, with how many images."""
    epochs = f"epochs run {recipe['epochs_run']}, published {recipe['epochs_published']}"
    if recipe["epochs_note"]:
        epochs += f" ({recipe['epochs_note']})"
    parts = [_where(recipe), epochs]
    counts = [f"{count:,} {split}" for split, count in recipe["n"].items() if count]
    if counts:
        parts.append(f"images: {', '.join(counts)}")
    if recipe["test_acc"] is not None:
        low, high = recipe["test_interval"]
        parts.append(f"test_acc {recipe['test_acc']:.4f} ({low:.4f} to {high:.4f})")
    if recipe["seconds"] is not None:
        parts.append(f"{recipe['seconds']:.1f} s of training")
    return "; ".join(parts)


def _where(recipe: Mapping[str, Any]) -> str:
    data, published = recipe["data"], recipe["data_published"]
    return f"on {data}" if data == published else f"on {data}, published for {published}"


def _row(figure: Mapping[str, Any]) -> tuple[str, str, str, str]:
    name = _LABELS.get(figure["figure"], figure["figure"])
    epoch = figure["epoch"]
    when = "last epoch" if epoch is None else f"epoch {epoch}" if epoch else "untrained"
    reason = f": {printable(figure['reason'], 2000)}" if figure["reason"] else ""
    return (
        f"{name}, {when}",
        figure["published"] or "-",
        _measured(figure),
        f"{figure['verdict']}{reason}",
    )


def _measured(figure: Mapping[str, Any]) -> str:
    value = figure["measured"]
    if value is None:
        return "-"
    if figure["interval"] is None:
        return f"{value:g}" if figure["figure"] == "rises" else f"{value:.4f}"
    low, high = figure["interval"]
    return f"{value:.4f} ({low:.4f} to {high:.4f}, n = {figure['n']:,})"


def _accepted(figure: Mapping[str, Any]) -> str:
    if figure["accepted"] is None:
        return "-"
    return f"in {figure['accepted']}: {figure['tolerance']}"


def _figures(count: int) -> str:
    return "1 figure" if count == 1 else f"{count} figures"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
