#!/usr/bin/env python3
"""Run an experiment: `python launch.py --config=configs/lenet5_mnist.py --workdir=runs/a --config.seed=1`.

Exit status: 0 finished; 1 a checkpoint or another file could not be written or read; 2 something given does not fit;
3 the loss or a weight is not finite; 75 stopped by SIGTERM or Ctrl-C with the state saved (the same command
continues); 130 Ctrl-C before training began, or a second time.
"""

import logging
import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    if "--deterministic" in arguments:
        # Read once, when JAX makes its backends.
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"

    from rich.console import Console

    from jaxcnn.cli import launch as cli
    from jaxcnn.runs.checkpoint import RestoreError, SaveError
    from jaxcnn.runs.loop import NonFinite, train
    from jaxcnn.runs.signals import Preempted
    from jaxcnn.runtime.errors import InputError
    from jaxcnn.runtime.xla_flags import set_xla_flags

    # Orbax logs at length what it also raises, and what its threads say of it says nothing more.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    set_xla_flags()
    statuses = {InputError: 2, NonFinite: 3, SaveError: 1, RestoreError: 1, Preempted: 75}
    try:
        launch = cli.parse(arguments, default_config=Path(__file__).parent / "configs" / "lenet5_digits.py")
        if launch.dry_run:
            cli.show_plan(launch)
        else:
            train(
                launch.config,
                launch.workdir,
                init_from=launch.init_from,
                config_file=launch.config_file,
                accept_changed_code=launch.accept_changed_code,
            )
    except KeyboardInterrupt:
        print("launch.py: interrupted; the same command continues from the newest checkpoint", file=sys.stderr)
        return 130
    except tuple(statuses) as stop:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"launch.py: {stop}", markup=False)
        return next(status for kind, status in statuses.items() if isinstance(stop, kind))
    return 0


if __name__ == "__main__":
    from jaxcnn.runtime.pipes import exits_with_its_reader

    with exits_with_its_reader():
        sys.exit(main(sys.argv[1:]))
