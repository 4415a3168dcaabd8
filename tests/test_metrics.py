import io
import json
import os

import pytest
from rich.console import Console
from tensorboardX.event_file_writer import EventFileWriter  # noqa: F401
