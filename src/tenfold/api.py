"""The public functions: `tenfold.train`, `resume`, `evaluate`, `compare`, `load`, `export`..."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.data.folders.options import FolderOptions
from tenfold.deployment.classifier import Classifier
from tenfold.deployment.export.formats import Exported
from tenfold.doctor.check import Checked
from tenfold.errors import UsageError
from tenfold.evaluation.report import Report
from tenfold.models.own import OwnModel, own_model
from tenfold.recipes import Recipe, changed, load_recipe
from tenfold.recipes.recipe import AUTO
from tenfold.reporting.after import Reporter
from tenfold.reporting.terminal import PlainWatcher
from tenfold.runs.comparing import Comparison
from tenfold.runs.evaluate import evaluate_run
from tenfold.runs.export import export_run
from tenfold.runs.groups import SeedRuns
from tenfold.runs.page import ReportPage
from tenfold.runs.resources import Resources
from tenfold.runs.run import Run, open_run
from tenfold.runs.run import load as load_classifier
from tenfold.storage import as_json
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import OnEpoch, Watcher, Watchers

DEFAULT_RECIPE = "default"


def train(
    data: object = None,
    *,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    engine: str = "auto",
    time: str = "",
    checkpoint_every: str | int = "",
    download: bool = True,
    quiet: bool = False,
    plot: bool | str | Path = False,
    show_test: bool = False,
    on_epoch: Callable[[EpochMetrics], object] | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
    **changes: Any,  # noqa: ANN401 - any key of a recipe
) -> Run:
    """Train a classifier; returns the run, finished and evaluated.

    Args:
        data: a name from the catalog; a folder or archive of class folders; an `.npz` file; an
            `ImageDataset`, `Splits`, or any map-style PyTorch data set; None for the recipe's own.
        recipe: a recipe's name or path, or a `Recipe`.
        out: the run's folder; None for the next `runs/<data>-<model>-NNN`.
        data_root: a folder of known data sets, searched before `TENFOLD_DATA`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        threads: CPU threads; None for half the cores, at least two.
        engine: what runs the training steps: `native`, tenfold's compiled kernels; `torch`; or
            `auto`, the kernels if they can, otherwise PyTorch.
        time: about how long training should take, such as `"90s"`, `"10m"` or `"1h"`: the number of
            epochs, and the size of a model that is chosen by the data, are chosen to fit; empty for
            as long as the data needs.
        checkpoint_every: `"30s"` or `"5m"` for a time, `500` for batches; empty for once a minute,
            or less often if that is expensive. Those at the ends of epochs come in addition.
        download: whether missing known data sets may be downloaded.
        quiet: while training, print only notes, as in a notebook with a plot.
        plot: plot losses and accuracies while training: under the cell in a notebook, elsewhere
            to `training.png` in the run's folder, or to a path that ends in `.png` or `.svg`.
        show_test: whether to show test accuracy after every epoch, too: in the lines, the plot, the
            history and the report. It is not used to choose anything, and the run ends with the
            same bits.
        on_epoch: called with the `EpochMetrics` of every epoch as it ends, besides what else
            watches, such as `on_epoch=lambda metrics: wandb.log(metrics.model_dump())`. It is
            called before the epoch is saved, so after a crash it may be called with the same epoch
            again. If it raises an exception, a note says so, it is not called again, and training
            continues.
        report: whether to write `report.html` into the run's folder at the end.
        watcher: called as training proceeds, instead of printing lines.
        changes: recipe keys to change, such as `epochs=5` or `model="mlp"`. The model can also be
            your own: an `nn.Module`, which ends with the trained weights; a class or function that
            makes one from `model_args`; or `"net.py:Net"`, a file and a name in it. How a folder of
            pictures is read: `image_size`, `resize`, `labels`, `label_from`, `group_by` and
            `skip_bad`; see `tenfold.data.FolderOptions`. What is corrected: `corrections`, a
            table that `tenfold check` wrote and a person filled in. More training images: `add`, a
            folder of class folders. Fewer: `limit=1000`, from each class its share, before
            validation images are held out of them. What the network starts from: `start`, a run or
            a model file, or `weights`, a file of another program; with `freeze=True`, only its last
            layer is trained. All keys: see `tenfold.recipes.Recipe`.

    Raises:
        TenfoldError: one of its subclasses, each with a remedy.
    """
    from tenfold.runs.train import train_run

    if time:
        changes.setdefault("epochs", AUTO)
    watcher = _watcher(watcher, quiet, plot, on_epoch)
    own = _own_model(changes)
    return train_run(
        _recipe(recipe, changes),
        data,
        out=_out(out),
        resources=_resources(data_root, device, threads, download, engine, own),
        time=time,
        checkpoint_every=checkpoint_every,
        show_test=show_test,
        watcher=watcher,
        after=Reporter(watcher) if report else None,
    )


def train_seeds(
    data: object = None,
    *,
    seeds: int,
    recipe: str | Path | Recipe = DEFAULT_RECIPE,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    engine: str = "auto",
    time: str = "",
    checkpoint_every: str | int = "",
    download: bool = True,
    quiet: bool = False,
    plot: bool | str | Path = False,
    show_test: bool = False,
    on_epoch: Callable[[EpochMetrics], object] | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
    **changes: Any,  # noqa: ANN401 - any key of a recipe
) -> SeedRuns:
    """Train several classifiers that differ in nothing but the seed, in one folder.

    The difference between them is chance: a recipe is better than another only if it is so in spite
    of it. A training that fails does not stop the others; see `SeedRuns.failures`.

    Args:
        data: see `train`.
        seeds: number of runs, 2..1000; the seeds count up from `seed`, 0 by default.
        recipe: see `train`.
        out: the folder of the group; None for the next `runs/<data>-<model>-NNN`. The run with seed
            3 is in its folder `seed-3`.
        data_root: see `train`.
        device: see `train`.
        threads: see `train`.
        engine: see `train`.
        time: about how long each run should train; see `train`.
        checkpoint_every: see `train`.
        download: see `train`.
        quiet: see `train`.
        plot: see `train`; to a path, the last run is plotted.
        show_test: see `train`.
        on_epoch: see `train`; called for each run, one run after the other.
        report: see `train`.
        watcher: see `train`.
        changes: see `train`.

    Raises:
        TenfoldError: one of its subclasses, each with a remedy.
    """
    from tenfold.runs.seeds import train_seeds as train_runs

    if time:
        changes.setdefault("epochs", AUTO)
    watcher = _watcher(watcher, quiet, plot, on_epoch)
    own = _own_model(changes)
    return train_runs(
        _recipe(recipe, changes),
        data,
        seeds=seeds,
        out=_out(out),
        resources=_resources(data_root, device, threads, download, engine, own),
        time=time,
        checkpoint_every=checkpoint_every,
        show_test=show_test,
        watcher=watcher,
        after=Reporter(watcher) if report else None,
    )


def resume_seeds(
    group: str | Path | SeedRuns,
    *,
    data: object = None,
    model: object = None,
    data_root: str | Path | None = None,
    device: str = "",
    threads: int | None = None,
    engine: str = "",
    checkpoint_every: str | int = "",
    download: bool = True,
    quiet: bool = False,
    plot: bool | str | Path = False,
    show_test: bool = False,
    on_epoch: Callable[[EpochMetrics], object] | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
) -> SeedRuns:
    """Continue the runs of a group that have not ended, and begin those that are missing.

    Args:
        group: what `train_seeds` gives, or its folder.
        data: see `resume`.
        model: see `resume`.
        data_root: see `train`.
        device: see `resume`.
        threads: see `resume`.
        engine: see `resume`.
        checkpoint_every: see `train`.
        download: see `train`.
        quiet: see `train`.
        plot: see `train_seeds`.
        show_test: see `resume`.
        on_epoch: see `train_seeds`; only for the epochs that are trained now.
        report: see `train`.
        watcher: see `train`.

    Raises:
        TenfoldError: one of its subclasses, each with a remedy.
    """
    from tenfold.runs.seeds import resume_seeds as resume_runs

    watcher = _watcher(watcher, quiet, plot, on_epoch)
    resources = _resources(data_root, device, threads, download, engine, _again(model, group))
    reporter = Reporter(watcher) if report else None
    resumed = resume_runs(
        group.folder if isinstance(group, SeedRuns) else _path(group),
        data=data,
        resources=resources,
        checkpoint_every=checkpoint_every,
        show_test=show_test,
        watcher=watcher,
        after=reporter,
    )
    if reporter is not None:
        for run in resumed.runs:
            reporter.make_up_for(run, data, resources)
    return resumed


def resume(
    run: str | Path | Run,
    *,
    epochs: int | None = None,
    accept: Collection[str] = (),
    data: object = None,
    model: object = None,
    data_root: str | Path | None = None,
    device: str = "",
    threads: int | None = None,
    engine: str = "",
    checkpoint_every: str | int = "",
    download: bool = True,
    quiet: bool = False,
    plot: bool | str | Path = False,
    show_test: bool = False,
    on_epoch: Callable[[EpochMetrics], object] | None = None,
    report: bool = True,
    watcher: Watcher | None = None,
) -> Run:
    """Continue a run at its next batch.

    Args:
        run: a run or its folder; see `resume_seeds` for a group of runs.
        epochs: a new total number of epochs.
        accept: which of `recipe`, `data` and `classes` may have changed.
        data: the data again, if it was passed in Python or has moved.
        model: the network again, if it is your own and not a list of layers that tenfold knows: as
            in `train`.
        data_root: see `train`.
        device: `auto`, `cpu`, `cuda` or `mps`; empty for the run's own.
        threads: None for the run's own number.
        engine: `auto`, `native` or `torch`; empty for the run's own. With another engine, the
            final bits differ from those of an uninterrupted run.
        checkpoint_every: see `train`.
        download: see `train`.
        quiet: see `train`.
        plot: see `train`.
        show_test: see `train`; of the epochs that are trained now.
        on_epoch: see `train`; only for the epochs that are trained now.
        report: see `train`.
        watcher: see `train`.

    Raises:
        FileRefusedError: there is no run to continue, or it has changed.
        TenfoldError: as in `train`.
    """
    from tenfold.runs.resume import resume_run

    watcher = _watcher(watcher, quiet, plot, on_epoch)
    resources = _resources(data_root, device, threads, download, engine, _again(model, run))
    reporter = Reporter(watcher) if report else None
    resumed = resume_run(
        _path(run),
        epochs=epochs,
        accept=[accept] if isinstance(accept, str) else accept,
        data=data,
        resources=resources,
        checkpoint_every=checkpoint_every,
        show_test=show_test,
        watcher=watcher,
        after=reporter,
    )
    if reporter is not None:
        reporter.make_up_for(resumed, data, resources)
    return resumed


def report(
    run: str | Path | Run,
    data: object = None,
    *,
    model: object = None,
    data_root: str | Path | None = None,
    device: str = "",
    threads: int | None = None,
    download: bool = True,
) -> ReportPage:
    """Write a run's report again, with which every run ends: a page, its figures, all answers.

    Args:
        run: a run or its folder.
        data: the run's data again, if it was passed in Python or has moved.
        model: see `resume`.
        data_root: see `evaluate`.
        device: see `evaluate`.
        threads: see `evaluate`.
        download: see `train`.

    Returns:
        The page, which a notebook shows.

    Raises:
        TenfoldError: one of its subclasses, each with a remedy.
    """
    from tenfold.reporting.pages.report import make_report

    resources = _resources(data_root, device, threads, download, own=_again(model, run))
    page = make_report(_path(run), data, resources=resources, listener=PlainWatcher())
    return open_run(page.parent).report()


def evaluate(
    run: str | Path | Run,
    data: object = None,
    *,
    split: str = "test",
    labels: str = "",
    label_from: str = "",
    skip_bad: bool = False,
    model: object = None,
    data_root: str | Path | None = None,
    device: str = "",
    threads: int | None = None,
    download: bool = True,
) -> Report:
    """Evaluate a run's best weights, or a bundle, on one split.

    Args:
        run: a run, its folder, or a bundle.
        data: what to evaluate on, as in `train`; None for the run's own data.
        split: `train`, `val` or `test`.
        labels: a table with the labels of a folder's images; with the next two, see
            `tenfold.data.FolderOptions`.
        label_from: a regular expression that finds labels in names.
        skip_bad: leave out images that cannot be read.
        model: see `resume`.
        data_root: a folder of known data sets, searched before `TENFOLD_DATA`.
        device: `auto`, `cpu`, `cuda` or `mps`; empty for the run's own. For a bundle, empty is
            the CPU if the compiled kernels can compute the model, and otherwise `auto`.
        threads: CPU threads; None for the run's own number.
        download: see `train`.

    Raises:
        TenfoldError: one of its subclasses, each with a remedy.
    """
    return evaluate_run(
        _path(
            run,
            remedy="call its own evaluate, with a split of a data set"
            if isinstance(run, Classifier)
            else "evaluate a network with tenfold.evaluation.evaluate",
        ),
        data,
        split=split,
        options=FolderOptions(labels, label_from, skip_bad=skip_bad),
        resources=_resources(data_root, device, threads, download, own=_again(model, run)),
        listener=PlainWatcher(),
    )


def compare(
    *runs: str | Path | Run | SeedRuns,
    html: str | Path | None = None,
    data_root: str | Path | None = None,
    download: bool = True,
) -> Comparison:
    """Put runs side by side: figures, what differs in them, and whether it is chance.

    It prints as text. Runs that differ only in their seeds are taken together; the others are
    tested against what is named first. See docs/comparing.md.

    Args:
        runs: two or more runs or their folders, or what `train_seeds` gives.
        html: a file to write a page with curves to.
        data_root: see `train`; for runs whose predictions have to be computed again.
        download: see `train`.

    Raises:
        UsageError: there are fewer than two runs.
        FileRefusedError: one of them is damaged, or not a run.
        StorageError: the page cannot be written.
    """
    from tenfold.reporting.comparison.page import ShownComparison, write_page
    from tenfold.runs.comparing import compare_runs
    from tenfold.storage import destination

    if html is not None:
        destination(Path(html))  # refuses it before the work
    found = compare_runs(
        [run.folder if isinstance(run, SeedRuns) else _path(run) for run in runs],
        resources=_resources(data_root, "", None, download),
        listener=PlainWatcher(),
    )
    if html is not None:
        write_page(Path(html), found)
    return ShownComparison(**vars(found))


def check(
    data: object,
    *,
    quick: bool = False,
    ignore: Collection[str] = (),
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    download: bool = True,
    watcher: Watcher | None = None,
    **changes: Any,  # noqa: ANN401 - keys of a recipe
) -> Checked:
    """Look for whatever may be wrong with a data set; see docs/check.md.

    Args:
        data: see `train`.
        quick: look at single images and exact copies only: no near duplicates, no training.
        ignore: kinds of findings to leave out, of `tenfold.data.checks.findings.KINDS`.
        out: a new folder for the page, the table and the JSON file of `tenfold check`; None to
            write nothing.
        data_root: see `train`.
        device: where to train the models that check labels.
        threads: see `train`.
        download: see `train`.
        watcher: called as the check proceeds, instead of printing lines.
        changes: how a folder of pictures is read: `image_size`, `resize`, `labels`, `label_from`,
            `group_by`, and `corrections`; see `train`.

    Raises:
        TenfoldError: one of its subclasses, each with a remedy.
    """
    from tenfold.doctor.check import check_data
    from tenfold.runs.folder import RunFolder, new_folder, require_new

    folder = _out(out)
    if folder is not None:
        require_new(RunFolder(folder))  # before all the work
    checked = check_data(
        data,
        _recipe(DEFAULT_RECIPE, changes),
        quick=quick,
        ignore=[ignore] if isinstance(ignore, str) else list(ignore),
        resources=_resources(data_root, device, threads, download),
        watcher=watcher or PlainWatcher(quiet=True),
    )
    if folder is not None:
        from tenfold.reporting.check_files import write_check

        write_check(new_folder(folder, ""), checked)
    return checked


def load(path: str | Path | Run, *, model: object = None, device: str = "cpu") -> Classifier:
    """The classifier of a run or of a bundle.

    Args:
        path: a run, its folder, or a bundle such as its `model.safetensors`.
        model: see `resume`.
        device: where to predict: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        FileRefusedError: there is no usable model.
    """
    return load_classifier(_path(path), device=device, code=_again(model, path))


def export(
    run: str | Path | Run,
    to: str = "onnx",
    *,
    out: str | Path | None = None,
    model: object = None,
    data_root: str | Path | None = None,
    download: bool = True,
) -> Exported:
    """Write a run's model for other programs, checked against it; see docs/export.md.

    Args:
        run: a run, its folder, or a bundle.
        to: `onnx`, `torch-export` or `state-dict`.
        out: a file, or a folder, also a new one; None for the run's folder, or the bundle's.
        model: see `resume`.
        data_root: a folder of known data sets, searched before `TENFOLD_DATA`.
        download: see `train`.

    Raises:
        ExportError: the export does not compute what the model computes; nothing is written.
        TenfoldError: another of its subclasses, each with a remedy.
    """
    return export_run(
        _path(run),
        to,
        _out(out),
        resources=_resources(data_root, "", None, download, own=_again(model, run)),
        listener=PlainWatcher(),
    )


def _out(out: object) -> Path | None:
    """The path to write to.

    Raises:
        UsageError: it is no path.
    """
    if out is not None and not isinstance(out, str | Path):
        raise UsageError(f"out is of type {type(out).__name__}, wanted the path of a folder")
    return None if out is None else Path(out)


def _own_model(changes: dict[str, Any]) -> OwnModel | None:
    """What makes the network, if `model` is the user's own; the recipe then gets its name."""
    if changes.get("model", "") is None:
        del changes["model"]
    own = own_model(changes.get("model", ""))
    if own is None:
        return None
    changes["model"] = own.model
    given = sorted(key for key in changes if key.partition(".")[0] == "model_args")
    if own.given is not None and given:
        raise UsageError(
            f"model is a network, which has its arguments already, and {given[0]} is given, too",
            remedy="leave it out, or give the class: model=Net",
        )
    for key in given:
        changes[key] = _storable(key, changes[key])
    return own


def _storable(key: str, value: object) -> object:
    """A value as a recipe can keep it.

    Raises:
        UsageError: JSON cannot have it.
    """
    try:
        return as_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{key} cannot be kept in a recipe: {error}, wanted numbers, text, and lists and "
            "tables of these",
            remedy="give a function that makes the network: model=lambda: Net(...)",
        ) from error


def _recipe(recipe: str | Path | Recipe, changes: dict[str, Any]) -> Recipe:
    changes = {k: v.item() if isinstance(v, np.generic) else v for k, v in changes.items()}
    changes = {k: v.folder if isinstance(v, Run) else v for k, v in changes.items()}
    changes = {k: str(v) if isinstance(v, Path) else v for k, v in changes.items()}
    if not isinstance(recipe, str | Path | Recipe):
        raise UsageError(
            f"recipe is of type {type(recipe).__name__}, wanted the name of a recipe, the path of "
            "a TOML file, or a Recipe",
            remedy="change single settings by their names, such as epochs=5",
        )
    if isinstance(recipe, Recipe):
        return changed(recipe, changes, "given")
    return load_recipe(recipe, changes)


def _path(run: str | Path | Run, *, remedy: str = "") -> Path:
    if isinstance(run, Run):
        return run.folder
    if not isinstance(run, str | Path):
        raise UsageError(
            f"found an object of type {type(run).__name__}, wanted a run, its folder or its "
            "model.safetensors",
            remedy=remedy,
        )
    return Path(run)


def _resources(
    data_root: str | Path | None,
    device: str,
    threads: int | None,
    download: bool,
    engine: str = "",
    own: OwnModel | None = None,
) -> Resources:
    root = None if data_root is None else Path(data_root)
    return Resources(root, download, device, threads, engine, own)


def _again(model: object, run: object) -> OwnModel | None:
    """What makes the network of a run of the user's own, if it is known or given again.

    Raises:
        UsageError: it is a name.
    """
    if model is None:
        return run.code if isinstance(run, Run) else None
    own = own_model(model)
    if own is None:
        raise UsageError(
            f"model is {model!r}, wanted a network, what makes one, or FILE.py:NAME",
            remedy="leave it out, unless the run's network is your own",
        )
    return own


def _watcher(
    watcher: Watcher | None,
    quiet: bool,
    plot: bool | str | Path,
    on_epoch: Callable[[EpochMetrics], object] | None,
) -> Watcher:
    watchers: list[Watcher] = []
    if plot is False:
        watcher = watcher or PlainWatcher(quiet=quiet)
    else:
        from tenfold.reporting.live import LivePlot, in_notebook

        watcher = watcher or PlainWatcher(quiet=quiet or in_notebook())
        path = None if plot is True else plot
        watchers.append(LivePlot(path, tell=watcher.note))
    if on_epoch is not None:
        watchers.append(OnEpoch(on_epoch, tell=watcher.note))
    return Watchers([watcher, *watchers]) if watchers else watcher
