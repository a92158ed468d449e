"""Tables of published and measured figures, for a terminal and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.errors import printable

COLUMNS = ("figure", "published", "measured", "verdict")

INTERVALS = (
    "Each accuracy is given with its number of images, n, and Wilson's 95 % interval, which covers "
    "the choice of images but not the choice of seed. Times are from this single run, on a machine "
    "that may have been busy with other work."
)

_LABELS = {"evaluated_train_acc": "evaluated train_acc", "rises": "rises in train_loss"}


def reproduction_text(facts: Mapping[str, Any]) -> str:
    """All tables, for a terminal.

    Args:
        facts: from `Reproduction.to_dict`.
    """
    blocks = [_recipe_text(recipe) for recipe in facts["recipes"]]
    return "\n\n".join([*blocks, f"{summary(facts)}\nwritten to {printable(facts['folder'])}"])


def reproduction_markdown(facts: Mapping[str, Any]) -> str:
    """All tables as a Markdown document, with the machine and the command.

    Args:
        facts: from `Reproduction.to_dict`.
    """
    machine = facts["machine"]
    lines = ["# Published and measured figures", ""]
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
    """The number of figures for each verdict."""
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
    lines += [f"  warning: {printable(note, 2000)}" for note in recipe["notes"]]
    return "\n".join([*lines, f"  run {printable(recipe['run'])}"])


def _recipe_markdown(recipe: Mapping[str, Any]) -> list[str]:
    heading = [f"## `{recipe['recipe']}`", ""]
    if recipe["run"] is None:
        return [*heading, f"Training {_where(recipe)} did not finish: {_why_not(recipe)}."]
    lines = [*heading, f"Trained {_circumstances(recipe)}.", ""]
    columns = ("figure", "what it is", "published", "reproduced if", "measured", "verdict")
    lines += [_markdown_row(columns), _markdown_row(["---"] * len(columns))]
    for figure in recipe["figures"]:
        label, published, measured, verdict = _row(figure)
        cells = (label, figure["meaning"], published, _accepted(figure), measured, verdict)
        lines.append(_markdown_row(cells))
    for note in recipe["notes"]:
        lines += ["", f"Warning during training: {printable(note, 2000)}."]
    return lines


def _why_not(recipe: Mapping[str, Any]) -> str:
    """The verdicts on a recipe without a run: the same for all, or nearly all, figures."""
    verdicts = dict.fromkeys(
        f"{figure['verdict']}: {figure['reason']}" for figure in recipe["figures"]
    )
    return f"{_figures(len(recipe['figures']))}, {printable('; '.join(verdicts), 2000)}"


def _circumstances(recipe: Mapping[str, Any]) -> str:
    """The data, the epochs, the numbers of images, the accuracy and the time."""
    epochs = f"epochs: {recipe['epochs_run']} run, {recipe['epochs_published']} published"
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
