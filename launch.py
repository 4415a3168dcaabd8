#!/usr/bin/env python3
"""Train: `python launch.py --config=configs/lenet5_mnist.py --workdir=runs/a --config.seed=1`.

Without `--config` it trains LeNet-5 on digits, configs/lenet5_digits.py. Everything else is as in `jaxcnn train`.
"""

import sys
from pathlib import Path

from jaxcnn.cli.launch import main
from jaxcnn.runtime.command_line import command_line

if __name__ == "__main__":
    with command_line():
        default = Path(__file__).parent / "configs" / "lenet5_digits.py"
        sys.exit(main(sys.argv[1:], prog="launch.py", default_config=default))
