"""`jaxcnn COMMAND`, also `python -m jaxcnn COMMAND`. Each command is one function here and imports what it runs."""

import contextlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg
from tyro.extras import SubcommandApp

from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.runtime.pipes import exits_with_its_reader
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
Checkpoint = int | Literal["last", "best"]
Json = Annotated[str | None, arg(metavar="FILE")]
Picture = Annotated[str | None, arg(metavar="FILE")]

app = SubcommandApp()


@app.command
def train() -> None:
    """Train the network of a config file, or continue: --config=FILE; add --help to see every field and its value."""
    # For the list of commands alone: which options there are depends on the config file, so `main` parses them.


@app.command
def prepare(name: Name, data_dir: Folder = None, manual_dir: Folder = None) -> None:
    """Download a TFDS image data set and write it in the form that training reads (needs TensorFlow).

    Args:
        name: the data set: mnist, cifar10:3.0.2, imagenet_resized/32x32, imagenet2012.
        data_dir: folder of prepared data sets; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets.
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
    """Show a network layer by layer, in words or as a picture; or what a norm does, step by step.

    Args:
        targets: a network by name (vgg_d, alexnet, lenet5), a config file, a run folder, batch_norm or
            local_response_norm.
        shape: of an image; None: the paper's, or that of the data of the config file or run.
        format: of the tables; json and csv for programs.
        compare: several networks side by side, as table 1 of the VGG paper.
        explain: the architecture in words: what each part is for and why it was chosen.
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
        run: its workdir.
        protocol: center, ten_crop (AlexNet), multi_crop, dense or multi_scale (VGG); or several, with commas.
        batch_stats: what batch normalization divides by: ema, the running averages; algorithm2 (of its paper), pooled
            or full_pass, from training images; batch, each test batch's own; blend:N, both, the averages counting as N
            images; or several, with commas.
        checkpoint: last; best, by accuracy on the validation part, or on the test part if none was set aside; or the
            step of one.
        part: of the data.
        crop: side of the network's input in pixels; None: as the run was trained.
        scales: short sides to which images are resized; None: as the papers did.
        flip: also show mirrored views; None: in ten_crop and multi_crop, if the run was trained with mirroring.
        data_dir: folder of prepared data sets, in the place of the run's.
        batch_size: images at a time; None: the run's data.eval_batch_size, but for batch and blend:N, whose result
            depends on it, its data.batch_size.
        stats_batches: training batches for algorithm2 and pooled.
        format: of what is printed.
        output: file to write as JSON.
    """
    from jaxcnn.runs.evaluation import evaluate_run, parse_scales, show
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
    """Make a run of foreign weights (torchvision, Keras VGG, NumPy), or foreign weights of a run.

    `convert vgg16_bn.pth` makes runs/vgg16_bn, which evaluate, --init_from and jaxcnn.restore take as any other run.
    `convert runs/a --output=a.safetensors` goes the other way. Every array is listed. Code in a file is never run.

    Args:
        source: file of weights: .safetensors, .pth, .pt, .npz, .h5, .keras; or the folder of a run.
        workdir: of a file: folder to make; None: runs/NAME for a file NAME.pth.
        model: of a file: the network, a name for ImageNet (vgg_d_bn, alexnet_owt), a config file or a run; None: as the
            shapes of the arrays tell.
        num_classes: of a file: its classes; None: as the file or the model has it.
        drop_head: of a file: draw the last dense layer anew (every dense layer if the file has none).
        output: of a run: file to write, .safetensors or .npz.
        layout: of a run: names and order of axes; None: torchvision for .safetensors, jaxcnn for .npz.
        checkpoint: of a run: last, best or the step of one; None: last.
        dry_run: list every array, write nothing.
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
def report(runs: Runs, name: str, results: str = "configs/results", readme: str = "README.md") -> None:
    """Keep what finished runs of one experiment found, and renew the README's table.

    Args:
        runs: workdirs of runs that differ in their seed alone.
        name: of the experiment, as in configs/NAME.py.
        results: folder of NAME.jsonl (a line a seed) and NAME.png (learning curves).
        readme: file whose tables are made from the results.
    """
    from jaxcnn.cli.report import collect, marked, update_tables

    marked(readme)
    print(collect(runs, name, results))
    update_tables(readme, results)


@app.command
def bench(
    cases: Cases = (),
    what: tuple[Literal["steps", "launch", "pipeline"], ...] = ("steps",),
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
        cases: lenet5, vgg_d_bn_32, alexnet, vgg_d, or another network by name; none: these four.
        what: steps of networks; launch, the time from launch.py to the first step; pipeline, the share of the input
            pipeline in a training step.
        mode: of the steps.
        dtype: of the steps.
        batch_size: images a step; None: the case's own.
        peer: what to compare with: plain linen layers, PyTorch.
        seconds: that each is measured for in every case.
        threads: CPUs of each process; None: all that there are.
        format: of what is printed.
        output: .json file to write, with a chart beside it if there is a peer.
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


@exits_with_its_reader()
def main(args: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        args: without the program's name; None: those of this process.

    Returns:
        The exit status: 0, or 2 after a message on stderr about input that can be mended or where no command is named,
        3 after one about numbers that are not finite, or 130 after Ctrl-C; of `train` those of `jaxcnn.cli.launch`.
    """
    command, *rest = [*(sys.argv[1:] if args is None else args)] or [""]
    prog = "jaxcnn" if Path(sys.argv[0]).stem == "jaxcnn" else "python -m jaxcnn"
    if command == "train":
        from jaxcnn.cli import launch

        return launch.main(rest, prog=f"{prog} train")
    parse = partial(app.cli, prog=prog, description="Classic convolutional networks in JAX.", use_underscores=True)
    try:
        _check_command(command)
        if not command:
            with contextlib.suppress(SystemExit):
                parse(args=["--help"])
            return 2
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
    known = (train, prepare, describe, evaluate, convert, report, bench)
    names = [function.__name__ for function in known]
    if command and not command.startswith("-") and command not in names:
        raise InputError(f"{command!r} is no command.{did_you_mean(command, names)} There are {', '.join(names)}.")


if __name__ == "__main__":
    sys.exit(main())
