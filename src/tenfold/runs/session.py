"""A session of a run in its folder: train, and save everything that a user or a resume needs."""

from __future__ import annotations

import contextlib
import platform
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tenfold.deployment.bundle import write_bundle
from tenfold.errors import InterruptedRunError, StorageError, TenfoldError
from tenfold.paths import exists
from tenfold.runs.evidence import AfterRun, Evidence
from tenfold.runs.facts import Context, RunFacts, Session
from tenfold.runs.fit import bundle_of, figures_of, finish
from tenfold.runs.folder import RunFolder
from tenfold.runs.prepared import Prepared, train_prepared
from tenfold.runs.run import Run
from tenfold.runs.signals import StopRequest
from tenfold.storage import write_text
from tenfold.training.checkpoint import Checkpointer
from tenfold.training.history import EpochMetrics
from tenfold.training.memory import peak_memory
from tenfold.training.state import TrainingState
from tenfold.training.watching import Watcher, Watchers


@dataclass(frozen=True)
class Beginning:
    """How a session begins.

    Attributes:
        exact: whether it ends with the same bits as an uninterrupted run.
        changed: whether a difference from the checkpoint was accepted.
        notes: notes for the user.
        replaced: what its checkpoints may have instead of its context; None if all have that.
    """

    exact: bool = True
    changed: bool = False
    notes: Sequence[str] = ()
    replaced: Context | None = None


def run_session(
    folder: RunFolder,
    prepared: Prepared,
    facts: RunFacts,
    every: tuple[float, int],
    watcher: Watcher,
    beginning: Beginning,
    stop: StopRequest,
    after: AfterRun | None = None,
) -> Run:
    """Train from the current state to the end, then write the bundle and the figures.

    At the end, `after` is called; whatever it does, the run is safe.

    Raises:
        TrainingError, InterruptedRunError, StorageError: see `train_run`.
    """
    facts = _begin(folder, prepared, facts, beginning)
    with _failures_noted(folder, facts):
        state = prepared.state
        saver = _Saver(folder, prepared, facts)
        checkpointer = Checkpointer(
            folder.checkpoints,
            {**prepared.context.model_dump(), "conditions": prepared.conditions.model_dump()},
            every_seconds=every[0],
            every_batches=every[1],
            after_save=saver.after_save,
            tell=watcher.note,
        )
        if state.history or exists(folder.metrics):
            folder.write_metrics(state.history)
        if beginning.changed:  # an accepted change must not need accepting again
            checkpointer.save(state)
        elif state.step:  # the files beside it may be older than the checkpoint, or newer
            saver.after_save(state)
        watcher.started(folder.path, state.history)
        try:
            outcome = train_prepared(
                prepared,
                watcher=Watchers([saver, watcher]),
                checkpointer=checkpointer,
                should_stop=stop,
            )
        finally:
            watcher.ended()
        facts = saver.facts
        if outcome == "interrupted":
            folder.write_facts(facts.updated(status="interrupted"))
            raise InterruptedRunError(
                f"{folder}: stopped and saved {_where(state)}",
                remedy=f"continue with: {folder.command('resume')}",
                signal_number=stop.signal_number,
            )
        try:
            with stop.raising():
                fitted = finish(prepared, outcome, listener=watcher)
        except KeyboardInterrupt:
            folder.write_facts(facts.updated(status="interrupted"))
            raise InterruptedRunError(
                f"{folder}: stopped while the test images were evaluated; all epochs are saved",
                remedy=f"evaluate them with: {folder.command('resume')}",
                signal_number=stop.signal_number or signal.SIGINT,
            ) from None
        folder.write_metrics(state.history)
        bundle = fitted.bundle()
        digest = write_bundle(folder.model, bundle)
        facts = facts.updated(
            status=outcome,
            figures=fitted.figures,
            test=None if fitted.report is None else fitted.report.to_dict(),
            concern=fitted.concern,
            peak_memory=peak_memory(),
        )
        facts = facts.updated(digests=folder.digests(facts, model=digest))
        folder.write_facts(facts)
    if prepared.own is not None:
        prepared.own.give_back(prepared.model.network)
    run = Run(folder.path, tuple(state.history), facts, prepared.own)
    if after is not None:
        parts = {part.split: part for part in prepared.splits}
        after(run, Evidence(parts, fitted.logits, bundle.header))
    return run


def _begin(
    folder: RunFolder, prepared: Prepared, facts: RunFacts, beginning: Beginning
) -> RunFacts:
    """Write to the folder that a session runs; returns the contents of `run.json`."""
    conditions, context = prepared.conditions, prepared.context
    session = Session(
        **conditions.model_dump(),
        started=_now(),
        from_step=prepared.state.step,
        bit_exact=beginning.exact,
        notes=list(beginning.notes),
        why_not_native=prepared.engine.why_not_native,
    )
    facts = facts.updated(
        status="running",
        conditions=conditions,
        context=context,
        replaced=beginning.replaced,
        sessions=[*facts.sessions, session],
        figures=None,
        test=None,
        failure=None,
        concern="",
        peak_memory=None,
        digests={},
    )
    for path in (folder.report, folder.figures, folder.predictions):
        with contextlib.suppress(OSError):  # they are of results that will change
            path.unlink()
    write_text(folder.recipe, prepared.recipe.to_toml())
    if prepared.own is not None and prepared.own.code is not None:
        folder.keep_code(prepared.own.code)
    folder.write_facts(facts)
    return facts


@contextlib.contextmanager
def _failures_noted(folder: RunFolder, facts: RunFacts) -> Iterator[None]:
    """Write to `run.json` that the run has failed, if the block does."""
    try:
        yield
    except InterruptedRunError:
        raise
    except TenfoldError as error:
        with contextlib.suppress(StorageError):  # the first error is the one to report
            folder.write_facts(facts.updated(status="failed", failure=str(error)))
        raise


class _Saver(Watcher):
    """Keeps the files beside the checkpoints in step with the training."""

    def __init__(self, folder: RunFolder, prepared: Prepared, facts: RunFacts) -> None:
        self.folder, self.prepared, self.facts, self.best_epoch = folder, prepared, facts, 0

    def note(self, text: str) -> None:
        """Keep what is said of the training."""
        advice = list(dict.fromkeys([*self.facts.advice, text]))
        self.facts = self.facts.updated(advice=advice)
        with contextlib.suppress(StorageError):  # advice alone must not end the training
            self.folder.write_facts(self.facts)

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Add the epoch's figures to the history."""
        del epochs
        self.folder.add_metrics(metrics)

    def after_save(self, state: TrainingState) -> None:
        """Write the best weights if they have changed, with their epoch in the history."""
        if state.best is not None and state.best.epoch != self.best_epoch:
            self.folder.flush_metrics()
            self.best_epoch = state.best.epoch
            found = figures_of(self.prepared, self.best_epoch)
            figures = {**found.to_dict(), "epochs": self.best_epoch}
            write_bundle(self.folder.best, bundle_of(self.prepared, state.best.weights, figures))


def _where(state: TrainingState) -> str:
    if state.batch:
        return f"in epoch {state.epoch + 1} after batch {state.batch}"
    return f"after epoch {state.epoch}"


def first_facts(prepared: Prepared) -> RunFacts:
    """The facts of a new run, before its first session."""
    return RunFacts(
        status="running",
        created=_now(),
        python=platform.python_version(),
        platform=platform.platform(),
        git_revision=_git_revision(),
        data=prepared.data,
        start=prepared.start,
        own=prepared.own_facts,
        layers=prepared.own_layers,
        code=prepared.code_path,
        chosen=prepared.chosen,
        parameters=sum(p.numel() for p in prepared.model.network.parameters()),
        sessions=[],
        conditions=prepared.conditions,
        context=prepared.context,
    )


def _git_revision() -> str | None:
    """The current commit, if the working directory is in a git repository."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
