"""python -m jaxcnn COMMAND: everything but training. Each command is one function here and imports what it runs."""

import sys
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import Positional, arg
from tyro.extras import SubcommandApp

from jaxcnn.errors import InputError

Name = Annotated[Positional[str], arg(metavar="NAME")]
Folder = Annotated[str | None, arg(metavar="DIR")]

Runs = Annotated[Positional[tuple[str, ...]], arg(metavar="DIR [DIR ...]")]

app = SubcommandApp()


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
def report(runs: Runs, name: str, results: str = "configs/results", readme: str = "README.md") -> None:
    """Keep what finished runs of one experiment found, and renew the README's table.

    Args:
        runs: workdirs of runs that differ in their seed alone.
        name: of the experiment, as in configs/NAME.py.
        results: folder of NAME.jsonl (a line a seed) and NAME.png (learning curves).
        readme: file whose results table is made anew.
    """
    from jaxcnn.report import collect, update_readme

    print(collect(runs, name, results))
    update_readme(readme, results)


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        args: without the program's name; None: those of this process.

    Returns:
        The exit status: 0, or 2 after a message on stderr about input that can be mended, or 130 after Ctrl-C.
    """
    try:
        about = "Classic convolutional networks in JAX: all but training, which is launch.py."
        app.cli(prog="python -m jaxcnn", description=about, args=args, use_underscores=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
