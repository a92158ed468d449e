"""Make docs/performance.md and its plots from the results in benchmarks/results.

    python benchmarks/page.py
    python benchmarks/page.py --results FOLDER --out FOLDER

Nothing on the page is written by hand except here. A result that is missing has no section.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from folder_page import DOCUMENTS, interval_of, put_into
from folder_page import FIGURES as FOLDER_FIGURES
from measuring import IMPORT, RESULTS, Figure, Result, number

from tenfold.native.waiting import CROWD, SPIN_COUNT, SPIN_COUNT_IN_A_CROWD
from tenfold.training.checkpoint import SHARE_AT_EPOCH_ENDS as AT_EPOCH_ENDS
from tenfold.training.checkpoint import SHARE_OF_TIME as OF_TIME

DOCS = Path(__file__).parent.parent / "docs"

NAMES = {
    "native": "native engine",
    "torch": "PyTorch engine",
    "bare": "bare loop",
    "tutorial": "tutorial",
}

PLOTS: dict[str, plt.Figure] = {}
"""What sections have drawn, by name."""

COLORS = {
    "tutorial": "#999999",
    "tutorial, 4 workers": "#cccccc",
    "bare": "#56b4e9",
    "torch": "#e69f00",
    "native": "#0072b2",
}
"""After Okabe and Ito: told apart by colour-blind readers too."""


def ways_of(result: Result) -> list[str]:
    """The ways of a result's figures, in the order in which they first appear."""
    return list(dict.fromkeys(figure.way for figure in result.figures))


def things_of(result: Result) -> list[str]:
    """What a result's figures are of, likewise."""
    return list(dict.fromkeys(figure.of for figure in result.figures))


def found(result: Result, of: str, way: str) -> Figure | None:
    """A figure, if it was measured."""
    try:
        return result.figure(of, way)
    except KeyError:
        return None


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """What was measured as code, up to a comma."""
    name, comma, rest = text.partition(",")
    return f"`{name}`{comma}{rest}"


def cell(figure: Figure | None, digits: Callable[[float], str] = number) -> str:
    """A figure in a table."""
    if figure is None:
        return "-"
    low, high = min(figure.samples), max(figure.samples)
    if low == high:
        return digits(figure.median)
    return f"{digits(figure.median)} ({digits(low)} to {digits(high)})"


def ratio(above: Figure | None, below: Figure | None) -> str:
    """How many times as much one figure is as the other."""
    return "-" if above is None or below is None else number(above.median / below.median)


def context(result: Result) -> str:
    """Where and how a result was measured."""
    n = max(len(figure.samples) for figure in result.figures)
    spread = f"Medians (lowest to highest of up to {n}; single numbers were measured once)"
    return f"{spread if n > 1 else 'Measured once'}. {where(result)}"


def where(result: Result) -> str:
    """Where and when a result was measured."""
    machine = result.machine
    threads = f", {result.settings['threads']} threads" if "threads" in result.settings else ""
    own = "".join(f", `{name}={value}`" for name, value in machine["settings"].items())
    if any("cifar10" in of for of in things_of(result)):
        own += f"; `cifar10` is {machine['cifar10']}"
    quick = " These are quick measurements." if result.settings.get("quick") else ""
    return (
        f"On {machine['cores']} cores of the processor {machine['processor']}{threads}, "
        f"Python {machine['python']}, PyTorch {machine['torch']}, {result.measured}"
        f"{f', commit {result.revision}' if result.revision else ''}{own}.{quick}"
    )


def dots(result: Result, things: Sequence[str], ways: Sequence[str], unit: str, name: str) -> str:
    """A plot of medians and ranges on a logarithmic axis; returns the Markdown that shows it."""
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.19 * len(things) * len(ways)))
    height = 0.8 / len(ways)
    for index, way in enumerate(ways):
        measured = [
            (place - 0.4 + (index + 0.5) * height, samples)
            for place, of in enumerate(things)
            if (samples := found(result, of, way)) is not None
        ]
        places, medians = [at for at, _ in measured], [one.median for _, one in measured]
        lows = [min(one.samples) for _, one in measured]
        highs = [max(one.samples) for _, one in measured]
        axes.hlines(places, lows, highs, color=COLORS.get(way), linewidth=2)
        axes.plot(medians, places, "o", color=COLORS.get(way), label=NAMES.get(way, way))
        for end, text in zip(zip(highs, places, strict=True), map(number, medians), strict=True):
            axes.annotate(text, end, (7, -3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set_yticks(range(len(things)), things)
    axes.invert_yaxis()
    for border in range(len(things) - 1):
        axes.axhline(border + 0.5, color="#dddddd", linewidth=0.8)
    axes.set_xlabel(f"{unit}, logarithmic")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return saved(figure, name, f"{unit} of {', '.join(NAMES.get(way, way) for way in ways)}")


def lines(series: dict[str, list[tuple[float, float]]], x: str, y: str, name: str) -> str:
    """A plot of lines on logarithmic axes; returns the Markdown that shows it."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    for index, (label, points) in enumerate(series.items()):
        axes.plot(
            [at for at, _ in points],
            [value for _, value in points],
            marker="osD^"[index % 4],
            label=label,
            color=["#0072b2", "#e69f00", "#009e73", "#cc79a7"][index % 4],
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({at for points in series.values() for at, _ in points})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return saved(figure, name, f"{y} over {x}")


def saved(figure: plt.Figure, name: str, words: str) -> str:
    """The Markdown that shows a plot; `main` writes it beside the page."""
    PLOTS[name] = figure
    return f"![{words}](performance/{name}.svg)"


def steps_of(result: Result) -> str:
    """A table of steps."""
    ways = [way for way in ("tutorial", "bare", "torch", "native") if way in ways_of(result)]
    rows = []
    for of in things_of(result):
        figures = {way: found(result, of, way) for way in ways}
        native, floor = figures.get("native"), result.facts[of]["floor_ms"]
        rows.append(
            [
                code(of),
                *(cell(figures[way]) for way in ways),
                ratio(figures["tutorial"], native),
                ratio(figures["bare"], native),
                ratio(figures["torch"], native),
                "-" if native is None else number(native.median / floor),
            ]
        )
    header = ["recipe", *(f"{NAMES[way]}, ms" for way in ways)]
    header += ["tutorial / native", "bare / native", "PyTorch engine / native"]
    header += ["native / floor"]
    return table(header, rows)


def avx2(result: Result) -> str:
    """Steps without AVX-512."""
    return f"""### Without AVX-512

The same with the kernels, PyTorch, oneDNN and MKL limited to AVX2, as on a processor that has no
AVX-512.

{context(result)}

{steps_of(result)}"""


def throughput(result: Result) -> str:
    """Steps."""
    ways = [way for way in ("tutorial", "bare", "torch", "native") if way in ways_of(result)]
    text = f"""## A training step

The tutorials' way opens every image with Pillow for PyTorch's DataLoader, without workers, and asks
for the loss after every step; the bare loop has all images as floats in memory; the engines run as
`tenfold train` runs them, metrics and checks included. All train the same network from the same
weights on the same batches. The losses of their first steps are compared with those of a loop in
double precision; at most, an engine's may differ from them three times as much as the bare loop's.

{context(result)}

{steps_of(result)}

{dots(result, things_of(result), ways, "milliseconds per step", "throughput")}

- The floor is the time that a step's arithmetic takes at the speed of PyTorch's product of large
  matrices, or that its weights take to be read and written, whichever is longer.
- The tutorials and the bare loop create `torch.optim.Adam` with its default settings; the PyTorch
  engine uses its fused form, which is why it is faster than the bare loop for `convpool-mnist`,
  which has the most weights. With `fused=True`, the bare loop is as fast as the PyTorch engine.
- At the learning rate of `convpool-mnist`, most of its gradients can become 0, which saves time; at
  1e-4 they do not. `resnet-small` is measured without augmentation, averaged weights and a
  schedule, which the other ways lack."""
    peers = [way for way in ways_of(result) if way not in NAMES]
    if peers:
        measured = [of for of in things_of(result) if any(found(result, of, p) for p in peers)]
        rows = [
            [f"`{of}`", *(cell(found(result, of, way)) for way in ("native", *peers))]
            for of in measured
        ]
        text += f"""

Other libraries, fitting the same model to the same images in memory with their own usual loop, an
epoch at a call, in milliseconds per batch (SGDClassifier fits one class against the rest, and
updates after each image):

{table(["recipe", "native engine", *peers], rows)}"""
    return text


COMMAND_WAYS = ("tutorial", "tutorial, 4 workers", "torch", "native")


def commands(result: Result) -> str:
    """Whole commands."""
    rows = []
    for of in things_of(result):
        figures = {way: found(result, of, way) for way in COMMAND_WAYS}
        facts = result.facts[of]
        found_acc = facts["test_acc"]
        accuracy = ", ".join(
            f"{100 * found_acc[way]:.1f}" if way in found_acc else "-" for way in figures
        )
        rows.append(
            [
                f"`{of}`",
                str(facts["epochs"]),
                *(cell(figure) for figure in figures.values()),
                *(ratio(figures[way], figures["native"]) for way in COMMAND_WAYS[:2]),
                accuracy,
            ]
        )
    header = ["recipe", "epochs", "tutorial's script, s", "with 4 workers, s"]
    header += [
        "PyTorch engine, s",
        "native engine, s",
        "script / native",
        "with 4 workers / native",
    ]
    header += ["test accuracy, %"]
    return f"""## A whole command

From the start of the process to the written model: `tenfold train` beside a script that is the
tutorial, [benchmarks/tutorials](../benchmarks/tutorials). The scripts evaluate where the tutorials
do, tenfold at the end of the run. Their DataLoaders read images in the script's own process, or in
four others. Both read `cifar10` from an `.npz` file. Accuracies are in the order of the columns,
each of one run: they differ by chance, most of all for `convpool-mnist`, whose learning rate is
high. `mlp-fashion` has the tutorial's low learning rate, and is far from its best after 5 epochs.

{context(result)}

{table(header, rows)}

{dots(result, things_of(result), COMMAND_WAYS, "seconds", "commands")}"""


def startup(result: Result) -> str:
    """Start-up."""
    bare = result.figure("command", IMPORT)
    rows = [
        [
            code(figure.way),
            cell(figure),
            ratio(figure, bare),
        ]
        for figure in result.figures
    ]
    return f"""## Start-up

Training imports PyTorch, but not its compiler, which PyTorch's own optimizers import. Prediction
and evaluation by the compiled kernels import neither. The ratios are to a process that imports
PyTorch and then ends at once, as tenfold's commands do; usually, an interpreter first frees it.

{context(result)}

{table(["command", "seconds", f"of `{IMPORT}`"], rows)}"""


def contention(result: Result) -> str:
    """Busy processes."""
    rows = []
    for of in things_of(result):
        bound = result.facts[f"bound, {of}"]
        row = [of.removesuffix(" busy"), number(bound)]
        for way in ways_of(result):
            figure, idle = found(result, of, way), found(result, "0 busy", way)
            row += [cell(figure), ratio(figure, idle)]
        rows.append(row)
    header = ["busy processes", "bound"]
    for way in ways_of(result):
        header += [f"{NAMES.get(way, way.replace('torch', 'PyTorch engine'))}, ms", "x idle"]
    spins, fewer = f"{int(SPIN_COUNT):,}", f"{int(SPIN_COUNT_IN_A_CROWD):,}"
    set_to = f"GOMP_SPINCOUNT={SPIN_COUNT}"
    return f"""## A busy machine

The time of a step of `{result.settings["recipe"]}` next to processes that each keep a core busy.
The bound is 3 x max(1, (threads + busy) / cores) times the idle time, with
{result.facts["threads"]} threads on {result.facts["cores"]} cores.

{context(result)}

{table(header, rows)}

The threads of GNU's OpenMP, which PyTorch has on Linux, look for work 300,000 times before they
sleep, unless the process has more of them than there are cores. That keeps a core from others for
longer than their time slice, as in the bare loop, of which a sample is only 20 steps. On the
command line, `tenfold` lets them look {spins} times (`{set_to}`), or {fewer} times if, as it
starts, more than {CROWD} other threads per core are runnable, unless `GOMP_SPINCOUNT` or
`OMP_WAIT_POLICY` is set. The run keeps that number: if a machine becomes that busy only later, its
steps are longer than the table says, and if it was so busy only at the start, they are longer than
necessary. In a notebook, where OpenMP's waiting was decided before tenfold is imported, a run of
the PyTorch engine has more threads than cores for that purpose: its steps are longer on an idle
machine, and can be shorter than the command line's beside a few busy processes. A notebook that is
started with the shorter waiting does as the command line: `{set_to} jupyter lab`. The threads of
the native engine yield the core by themselves. Without `--threads`, a run takes half the cores, but
at least two if there are two."""


def scaling(result: Result) -> str:
    """Growth."""
    threads = [of for of in things_of(result) if of.startswith("threads, ")]
    counts = [way for way in ways_of(result) if way.endswith(" threads")]
    rows = [
        [
            code(of.removeprefix("threads, ")),
            *(cell(found(result, of, way)) for way in counts),
            ratio(found(result, of, counts[0]), found(result, of, counts[-1])),
        ]
        for of in threads
    ]
    batches = [of for of in things_of(result) if of.startswith("batches of ")]
    batch_rows = [
        [
            of.removeprefix("batches of "),
            cell(found(result, of, "native")),
            cell(found(result, of, "torch")),
            ratio(found(result, of, "torch"), found(result, of, "native")),
        ]
        for of in batches
    ]
    per_image = {
        NAMES[way]: [
            (
                float(of.removeprefix("batches of ").replace(",", "")),
                result.figure(of, way).median,
            )
            for of in batches
        ]
        for way in ("native", "torch")
    }
    sizes = [of for of in things_of(result) if " images, " in of]
    size_rows = [
        [of, cell(found(result, of, "time")), cell(found(result, of, "peak memory"))]
        for of in sizes
    ]
    return f"""## Growth

{context(result)}

A step of the native engine with more threads, in milliseconds:

{table(["recipe", *(way.replace("1 threads", "1 thread") for way in counts), "gain"], rows)}

LeNet with batches of other sizes and two threads, in microseconds per image:

{table(["batch size", "native engine", "PyTorch engine", "ratio"], batch_rows)}

{lines(per_image, "batch size", "microseconds per image", "batches")}

One epoch on more images, imports included:

{table(["images and model", "seconds", "peak memory, MiB"], size_rows)}

Powers of the number of images beyond the smallest, fitted to the time and memory beyond the
smallest's (an exponent of 1 is growth in proportion):

{growth(result, sizes)}"""


def growth(result: Result, sizes: Sequence[str]) -> str:
    """A table of the fitted exponents, from the sizes that need more than the smallest."""
    rows = []
    for model in dict.fromkeys(of.partition(" images, ")[2] for of in sizes):
        measured = [of for of in sizes if of.endswith(f" images, {model}")]
        counts = [float(of.partition(" ")[0].replace(",", "")) for of in measured]
        for way in ("time", "peak memory"):
            medians = [result.figure(of, way).median for of in measured]
            added = [
                (count - counts[0], median - medians[0])
                for count, median in zip(counts, medians, strict=True)
                if count > counts[0] and median > medians[0]
            ]
            exponent = "-"
            if len(added) > 1:
                slope, _ = np.polyfit(*np.log(added).T, 1)
                exponent = number(float(slope))
            rows.append([f"{way}, {model}", exponent, str(len(added))])
    return table(["growth of", "exponent", "sizes used"], rows)


def prediction(result: Result) -> str:
    """Prediction."""
    bare = result.figure("one image", IMPORT)
    single = [
        [
            code(figure.way) if figure.way == IMPORT else figure.way,
            cell(figure),
            ratio(figure, bare),
        ]
        for figure in result.figures
        if figure.of == "one image"
    ]
    rows = []
    for of in things_of(result):
        work, _, recipe = of.partition(", ")
        if recipe:
            kernels = result.figure(of, "kernels")
            other = next(f for f in result.figures if f.of == of and f.way != "kernels")
            rows.append(
                [work, f"`{recipe}`", cell(kernels), cell(other), other.way, ratio(other, kernels)]
            )
    return f"""## Prediction and evaluation

{context(result)}

One image, as a whole command, beside a process that imports PyTorch and then ends at once:

{table(["command", "seconds", f"of `{IMPORT}`"], single)}

10,000 images in one process, in microseconds per image; the tutorials' test loop opens every image
with Pillow, and takes the recipe's batches:

{table(["work", "network of", "tenfold's kernels", "other", "the other is", "ratio"], rows)}"""


def reading(result: Result) -> str:
    """Reading."""
    rows = [[figure.way, cell(figure)] for figure in result.figures]
    return f"""## Reading data

The first time MNIST's files are read, they are compared with their published digests. The first
time a folder or archive is read, the headers of all pictures are read, then the pictures are
decoded, and a cache is written, from which they are read later.

{context(result)}

{table(["data", "seconds"], rows)}"""


def checkpoints(result: Result) -> str:
    """Checkpoints."""
    rows = []
    for figure in result.figures:
        facts = result.facts[figure.of]
        rows.append(
            [
                f"`{figure.of}`",
                f"{facts['epochs']:,}",
                f"{facts['checkpoints']:,}",
                cell(figure),
                number(facts["milliseconds_per_save"]),
                number(facts["longest_between"]),
                f"{facts['checkpoint_bytes'] / 1e6:,.2f}",
            ]
        )
    header = ["recipe", "epochs", "checkpoints", "% of the time"]
    header += ["ms per checkpoint", "most s between two", "MB"]
    return f"""## Checkpoints

The share of a run's time that is spent on saving, on random images of the data set's shape and
number, with as many epochs as fill about {result.settings["seconds"]:.0f} seconds. Checkpoints are
written at the ends of epochs, as long as that takes no more than {AT_EPOCH_ENDS:.0%} of the time,
and once a minute, unless that takes more than {OF_TIME:.0%}. The first and the last are always
written, which takes a larger share of a short run of a large network. The most seconds between two
are what a kill could have cost. All but the share are figures of the last run.

{context(result)}

{table(header, rows)}"""


def seeds(result: Result) -> str:
    """Accuracies."""
    rows = []
    for figure in result.figures:
        n, facts = len(figure.samples), result.facts[figure.of]
        interval = f"{figure.samples[0]:+.2f}"
        if n > 1:
            interval = "{:+.2f} ({:+.2f} to {:+.2f})".format(*interval_of(figure.samples))
        engine = figure.way.removesuffix(" minus PyTorch")
        rows.append(
            [
                code(figure.of),
                NAMES.get(engine, engine),
                str(facts["epochs"]),
                f"{facts['images']:,}",
                str(n),
                interval,
            ]
        )
    header = ["recipe", "trained by", "epochs", "images", "seeds", "points (95 % interval)"]
    return f"""## The same accuracy

The test accuracy of models trained by the native engine minus that of models trained by the PyTorch
engine, from the same weights and on the same batches, in percentage points, with the interval of
its mean by Student's t. Each engine draws its own dropout masks, so with dropout two runs differ as
much as two seeds do. At the high learning rate of `convpool-mnist`, the masks can decide whether a
network learns or predicts a constant, so it is compared without dropout, too.

{where(result)}

{table(header, rows)}"""


def installation(result: Result) -> str:
    """Installation."""
    said = {
        "pip's default": "what pip installs by default",
        "constraints.txt": "the versions in `constraints.txt`, with PyTorch's build for the CPU",
    }
    rows = []
    for way, words in said.items():
        facts, total = result.facts[way], result.figure("download", way).median
        rows.append([words, str(facts["packages"]), number(total), sizes(facts["largest"])])
    environment = result.figure("environment", "constraints.txt").median
    return f"""## Installation

{context(result)}

{table(["into an empty environment", "packages", "to download, MiB", "largest, MiB"], rows)}

Installed with the build for the CPU, the packages take {number(environment)} MiB on disk
({sizes(result.facts["environment"]["largest"])}). What pip installs by default depends on how it is
set up; here it is not told to prefer a build of PyTorch."""


def sizes(table_of_sizes: dict[str, float]) -> str:
    """Names and sizes, in one line."""
    return ", ".join(f"{name} {number(size)}" for name, size in table_of_sizes.items())


SECTIONS = {
    "throughput": throughput,
    "avx2": avx2,
    "commands": commands,
    "seeds": seeds,
    "startup": startup,
    "contention": contention,
    "prediction": prediction,
    "scaling": scaling,
    "reading": reading,
    "checkpoints": checkpoints,
    "installation": installation,
}
"""By the benchmark's name, what makes its section, in the order of the page."""

INTRODUCTION = """# How fast tenfold is

<!-- Made by benchmarks/page.py; changes made here would be lost. -->

Every figure on this page was measured by a script in [benchmarks](../benchmarks) and put here by
another. `python benchmarks/run.py` measures all of them on your machine and makes this page; with
`--quick` it measures less, and leaves the page alone. Times on shared machines drift by 10 % and
more from hour to hour, so what is compared was measured in turns, except what was measured once."""


END = """## Not measured

Graphics cards. On one, the PyTorch engine keeps all images on the device, does not wait for it
within a stretch of steps, and can be told to use mixed precision, another memory layout and
PyTorch's compiler: `--set precision=bfloat16`, `--set channels_last=true`, `--set compile=true`.
The compiler is used only if a batch of training images gives the same loss, gradients and logits
with and without it. All of this is tested on CPUs; how fast a GPU is has not been measured."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where the results are; by default benchmarks/results",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=DOCS,
        metavar="FOLDER",
        help="where to write performance.md, the folder of its plots, and the figures in "
        "folders.md; by default docs",
    )
    options = parser.parse_args()
    mpl.use("Agg")
    results = {
        name: Result.read(options.results / f"{name}.json")
        for name in SECTIONS
        if (options.results / f"{name}.json").exists()
    }
    if not results:
        sys.exit(f"there are no results in {options.results}; make some: python benchmarks/run.py")
    missing = [name for name in SECTIONS if name not in results]
    if missing:
        print(f"no results of {', '.join(missing)}", file=sys.stderr)
    sections = [SECTIONS[name](result) for name, result in results.items()]
    plots = options.out / "performance"
    plots.mkdir(parents=True, exist_ok=True)
    page = options.out / "performance.md"
    page.write_text("\n\n".join([INTRODUCTION, *sections, END]) + "\n", encoding="utf-8")
    for name, figure in PLOTS.items():
        with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
            figure.savefig(plots / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
    print(page)
    for name in DOCUMENTS:
        text = (DOCS / name).read_text(encoding="utf-8")
        for benchmark, (figures, documents) in FOLDER_FIGURES.items():
            if name in documents and (stored := options.results / f"{benchmark}.json").exists():
                text = put_into(text, benchmark, figures(Result.read(stored), name))
        (options.out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
