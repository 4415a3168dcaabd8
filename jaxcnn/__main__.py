"""The command line `jaxcnn COMMAND`, also `python -m jaxcnn COMMAND`.

Each command is a function that imports what it runs.
"""

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from jaxcnn.runtime.command_line import command_line
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.training.non_finite import NonFinite

Name = Annotated[Positional[str], arg(metavar="NAME")]
Folder = Annotated[str | None, arg(metavar="DIR")]

Source = Annotated[Positional[str], arg(metavar="FILE|DIR")]
File = Annotated[str | None, arg(metavar="FILE")]

Runs = Annotated[Positional[tuple[str, ...]], arg(metavar="DIR [DIR ...]")]
Targets = Annotated[Positional[tuple[str, ...]], arg(metavar="TARGET [TARGET ...]")]
Shape = Annotated[str | None, arg(metavar="HEIGHT,WIDTH,CHANNELS")]
Cases = Annotated[Positional[tuple[str, ...]], arg(metavar="[NAME ...]")]
Run = Annotated[Positional[str], arg(metavar="DIR")]
Scales = Annotated[str | None, arg(metavar="PIXELS[,PIXELS...]")]
Text = Annotated[str, arg(metavar="TEXT")]
Checkpoint = int | Literal["last", "best"]
Json = Annotated[str | None, arg(metavar="FILE")]
Picture = Annotated[str | None, arg(metavar="FILE")]

app = SubcommandApp()


@app.command
def train() -> None:
    """Train the network of a config file, --config=FILE, or continue a run; --help shows every field and its value."""
    # Only for the list of commands: the options depend on the config file, so `main` parses them.


@app.command
def prepare(name: Name, data_dir: Folder = None, manual_dir: Folder = None) -> None:
    """Download a TFDS image data set and write it in the format that training reads (needs TensorFlow).

    Args:
        name: data set, such as mnist, cifar10:3.0.2, imagenet_resized/32x32, imagenet2012.
        data_dir: folder of prepared data sets; None: $TFDS_DATA_DIR, otherwise ~/tensorflow_datasets.
        manual_dir: folder of files that must be downloaded by hand; None: downloads/manual in data_dir.
    """
    from jaxcnn.data.prepare import prepare

    prepare(name, data_dir, manual_dir)


@app.command
def describe(
    targets: Targets,
    shape: Shape = None,
    format: Literal["text", "markdown", "json", "csv"] = "text",
    compare: FlagCreatePairsOff[bool] = False,
    explain: FlagCreatePairsOff[bool] = False,
    diagram: Picture = None,
) -> None:
    """Describe a network layer by layer, in words or as a picture; or explain a topic step by step.

    Args:
        targets: name of a network (vgg_d, resnet20, lenet5), a config file or a run folder; or a topic: batch_norm,
            local_response_norm or vanishing_gradients.
        shape: image shape; None: as in the paper, or as in the data of the config file or run.
        format: format of the tables; json and csv are for programs.
        compare: show several networks side by side, as in table 1 of the VGG paper.
        explain: explain the architecture in words: the purpose of each part and why it was chosen.
        diagram: picture to draw, .svg or .png.
    """
    from jaxcnn.cli.describe import describe

    describe(targets, shape=shape, format=format, compare=compare, explain=explain, diagram=diagram)


@app.command
def evaluate(
    run: Run,
    protocol: str = "center",
    batch_stats: str = "ema",
    checkpoint: Checkpoint = "last",
    part: Literal["test", "validation", "train"] = "test",
    crop: int | None = None,
    scales: Scales = None,
    flip: bool | None = None,
    data_dir: Folder = None,
    batch_size: int | None = None,
    stats_batches: int = 100,
    format: Literal["text", "json"] = "text",
    output: Json = None,
) -> None:
    """Test a run's network as the papers tested theirs: top-1 and top-5 error, NLL, calibration error.

    Args:
        run: folder of the run.
        protocol: center, ten_crop (AlexNet), multi_crop, dense or multi_scale (VGG); or several, separated by commas.
        batch_stats: statistics batch normalization uses: ema, the running averages; algorithm2 (of its paper), pooled
            or full_pass, estimated from training images; batch, those of each test batch; blend:N, both, where the
            averages count as N images; or several, separated by commas.
        checkpoint: last; best, by accuracy on the validation split, or on the test split if there is none; or a step.
        part: split of the data to test on.
        crop: side of the network's input in pixels; None: as in training.
        scales: lengths to which the short side of images is resized; None: as in the papers.
        flip: also show mirrored views; None: in ten_crop and multi_crop, if the run was trained with mirroring.
        data_dir: folder of prepared data sets, instead of the run's.
        batch_size: images per batch; None: the run's data.eval_batch_size, except for batch and blend:N, whose result
            depends on it: the run's data.batch_size.
        stats_batches: number of training batches for algorithm2 and pooled.
        format: format of the printed results.
        output: JSON file to write.
    """
    from jaxcnn.runs.run_evaluation import evaluate_run, parse_scales, show
    from jaxcnn.runtime.xla_flags import set_xla_flags

    set_xla_flags()
    evaluations = evaluate_run(
        run,
        protocol=protocol.split(","),
        batch_stats=batch_stats.split(","),
        checkpoint=checkpoint,
        part=part,
        crop=crop,
        scales=parse_scales(scales),
        flip=flip,
        data_dir=data_dir,
        batch_size=batch_size,
        stats_batches=stats_batches,
        verbose=True,
    )
    show(evaluations, format, output)


@app.command
def probe() -> None:
    """Train a network for some steps; show where its gradient dies, units saturate and the inputs of layers shift."""
    # Only for the list of commands: as those of train, the options depend on the config file.


@app.command
def convert(
    source: Source,
    workdir: Folder = None,
    model: Annotated[str | None, arg(metavar="NAME")] = None,
    num_classes: int | None = None,
    drop_head: FlagCreatePairsOff[bool] = False,
    output: File = None,
    layout: Literal["torchvision", "jaxcnn"] | None = None,
    checkpoint: Checkpoint | None = None,
    dry_run: FlagCreatePairsOff[bool] = False,
) -> None:
    """Convert a weight file (torchvision, Keras VGG, NumPy) to a run, or a run to a weight file.

    `convert vgg16_bn.pth` creates runs/vgg16_bn, which evaluate, --init_from and jaxcnn.restore accept like any run.
    `convert runs/a --output=a.safetensors` is the other direction. Every array is listed. Code in a file is never run.

    Args:
        source: weight file: .safetensors, .pth, .pt, .npz, .h5, .keras; or the folder of a run.
        workdir: for a weight file: run folder to create; None: runs/NAME for a file NAME.pth.
        model: for a weight file: the network, a name for ImageNet (vgg_d_bn, alexnet_owt), a config file or a run;
            None: determined from the shapes of the arrays.
        num_classes: for a weight file: its number of classes; None: as in the file or the model.
        drop_head: for a weight file: re-initialize the last dense layer (every dense layer if the file has none).
        output: for a run: file to write, .safetensors or .npz.
        layout: for a run: names and order of axes; None: torchvision for .safetensors, jaxcnn for .npz.
        checkpoint: for a run: last, best or a step; None: last.
        dry_run: list every array, but write nothing.
    """
    from jaxcnn.weights import convert

    convert(
        source,
        workdir=workdir,
        model=model,
        num_classes=num_classes,
        drop_head=drop_head,
        output=output,
        layout=layout,
        checkpoint=checkpoint,
        dry_run=dry_run,
    )


@app.command
def plot(run: Run, checkpoint: Checkpoint = "last") -> None:
    """Draw the pictures of a run again: learning curves, confusion matrix, confident errors, first-layer filters.

    Args:
        run: folder of the run, into which they are written; without a checkpoint it gets only its learning curves.
        checkpoint: last; best, by accuracy on the validation split, or on the test split if there is none; or a step.
    """
    from jaxcnn.cli.plot import plot

    plot(run, checkpoint)


@app.command
def summarize(
    folder: Run,
    by: Text = "",
    baseline: Text = "",
    metric: str = "test.error",
    select: Text = "",
    format: Literal["text", "markdown", "csv", "json"] = "text",
) -> None:
    """Summarize a sweep over its seeds: mean, standard deviation and 95 % interval, the best first; and draw it.

    The pictures are written into the folder of the sweep as summary_*.png.

    Args:
        folder: folder of the sweep, with one run folder for each point.
        by: settings to compare, such as model.norm; several separated by commas. Empty: all that vary but the seed.
        baseline: value of by, as the table shows it, to compare the others with, paired by seed. Empty: none.
        metric: number in results.json, such as test.error, validation.accuracy, test.loss, seconds.
        select: metric, such as validation.error, by whose mean the settings that vary besides by are chosen for each
            value of by, of those with the most finished seeds. Empty: no setting is chosen.
        format: format of the table.
    """
    from jaxcnn.cli.summarize import summarize

    summarize(folder, by=by or None, baseline=baseline or None, metric=metric, select=select or None, format=format)


@app.command
def report(
    runs: Runs, name: str, baseline: str = "", results: str = "configs/results", readme: str = "README.md"
) -> None:
    """Store the results of finished runs of one experiment, or the summary of a sweep, and update the README's tables.

    Args:
        runs: workdirs of runs that differ only in their seed; or the folder of a sweep.
        name: name of the experiment, as in configs/NAME.py, or of the sweep.
        baseline: sweep: value that the others are compared with.
        results: folder of NAME.jsonl (one line per seed) and NAME.png (learning curves), or, of a sweep, of
            sweeps/NAME.json and sweeps/NAME.png.
        readme: file whose tables are made from the results.
    """
    from jaxcnn.cli.report import check_name, collect, marked, update_tables
    from jaxcnn.cli.sweep_report import collect_sweep

    check_name(name)
    marked(readme)
    if len(runs) == 1 and Path(runs[0]).is_dir() and not (Path(runs[0]) / "config.json").exists():
        print(collect_sweep(runs[0], name, results, baseline=baseline or None))
    else:
        if baseline:
            raise InputError(f"--baseline is {baseline!r}, but these are runs of one experiment; only a sweep has one.")
        print(collect(runs, name, results))
    update_tables(readme, results)


@app.command
def bench(
    cases: Cases = (),
    what: tuple[Literal["steps", "launch", "pipeline", "probes", "corruptions"], ...] = ("steps",),
    mode: tuple[Literal["train", "forward"], ...] = ("train", "forward"),
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32",),
    batch_size: int | None = None,
    peer: tuple[Literal["flax", "torch"], ...] = (),
    seconds: float = 20.0,
    threads: int | None = None,
    format: Literal["text", "markdown", "json"] = "text",
    output: Json = None,
    readme: File = None,
) -> None:
    """Measure the speed of networks, alone or against plain flax and PyTorch in processes that take turns.

    Args:
        cases: lenet5, vgg_d_bn_32, alexnet, vgg_d, or the name of another network; without a name, these four.
        what: what to measure: steps of networks; launch, the time from launch.py to the first step; pipeline, the share
            of the input pipeline in a training step; probes, a training step with and without probes of its layers;
            corruptions, those of images against their plain form in NumPy and SciPy.
        mode: modes of the steps.
        dtype: dtypes of the steps.
        batch_size: images per step; None: the batch size of the case.
        peer: libraries to compare with: plain linen layers, PyTorch.
        seconds: measured time per library and case.
        threads: CPUs per process; None: all available ones.
        format: format of the printed results.
        output: .json file to write; if there is a peer, a chart is written beside it.
        readme: Markdown file whose tables are made from the folder of output, such as configs/results/README.md.
    """
    from jaxcnn.bench.tables import failures
    from jaxcnn.cli.bench import bench

    record = bench(
        cases,
        what=what,
        mode=mode,
        dtype=dtype,
        batch_size=batch_size,
        peer=peer,
        seconds=seconds,
        threads=threads,
        format=format,
        output=output,
        readme=readme,
    )
    if failures(record):
        raise SystemExit(1)


@app.command
def claims(
    name: Annotated[Positional[str], arg(metavar="[NAME]")] = "",
    seeds: int | None = None,
    workdir: str = "runs/claims",
    scale: Literal["small", "full"] = "small",
) -> None:
    """Decide a statement about normalization or regularization by an experiment; without NAME list all verdicts.

    Args:
        name: name of the claim to run or resume; without it, claims, sources and recorded verdicts are listed.
        seeds: number of seeds, 2 or more; None: the claim's own.
        workdir: folder of the runs; each claim has a folder of its name in it.
        scale: small, for two CPU cores, at most 25 minutes; full, for accelerators, as in the papers.
    """
    from jaxcnn.cli.claims import claims
    from jaxcnn.runtime.xla_flags import set_xla_flags

    set_xla_flags()
    claims(name, seeds=seeds, workdir=workdir, scale=scale)


@app.command
def shift() -> None:
    """Covariate shift: corrupt images, and test for a shift; `shift --help` shows every command."""
    # Only for the list of commands: they have a command line of their own.


@command_line()
def main(args: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        args: arguments without the program's name; None: the arguments of this process.

    Returns:
        The exit status: 0; 2 after a message on stderr about invalid input, or without a command; 3 after a message
        about numbers that are not finite; 130 after Ctrl-C. For `train` and `probe` it is as in `jaxcnn.cli.launch` and
        `jaxcnn.cli.probe`.
    """
    command, *rest = [*(sys.argv[1:] if args is None else args)] or [""]
    prog = "jaxcnn" if Path(sys.argv[0]).stem == "jaxcnn" else "python -m jaxcnn"
    if command == "train":
        from jaxcnn.cli import launch

        return launch.main(rest, prog=f"{prog} train")
    if command == "probe":
        from jaxcnn.cli import probe

        return probe.main(rest, prog=f"{prog} probe")
    parse = partial(app.cli, prog=prog, description="Classic convolutional networks in JAX.", use_underscores=True)
    try:
        _check_command(command)
        if not command:
            with contextlib.suppress(SystemExit):
                parse(args=["--help"])
            return 2
        if command == "shift":
            from jaxcnn.cli import shift as commands

            commands.main(rest, prog=f"{prog} shift")
        else:
            parse(args=[command, *rest])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NonFinite as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    return 0


def _check_command(command: str) -> None:
    known = (train, prepare, describe, evaluate, probe, convert, plot, summarize, report, bench, claims, shift)
    names = [function.__name__ for function in known]
    if command and not command.startswith("-") and command not in names:
        raise InputError(
            f"{command!r} is not a command.{did_you_mean(command, names)} Commands are {', '.join(names)}."
        )


if __name__ == "__main__":
    sys.exit(main())
