"""The program of a job in each library, and the peak speed of the machine."""

import time

from jaxcnn.bench.job import Job, Program
from jaxcnn.runtime.xla_flags import set_xla_flags

# Side of the square matrices whose product measures the peak of a machine; a GPU needs larger ones to be busy. The time
# is short, because every round of a comparison measures its own peak.
_SIDE, _GPU_SIDE, _PEAK_SECONDS = 2048, 8192, 0.2


def make_program(job: Job) -> Program:
    """Return the program of a job.

    Raises:
        InputError: the library lacks a layer of the network, or the images do not fit it.
    """
    if job.library == "torch":
        from jaxcnn.bench.torch_program import TorchProgram

        return TorchProgram(job)
    from jaxcnn.bench.jax_program import JaxProgram

    if job.library == "jaxcnn":  # Plain flax runs with XLA's defaults, as for its users.
        set_xla_flags()
    return JaxProgram(job)


def peak_gflops(program: Program) -> float:
    """Return billions of operations per second in the fastest of several matrix products, 2 for each multiply-add."""
    side = _SIDE if program.facts["platform"] == "cpu" else _GPU_SIDE
    product, times = program.product(side), []
    product()
    while not times or sum(times) < _PEAK_SECONDS:
        begun = time.perf_counter()
        product()
        times.append(time.perf_counter() - begun)
    return 2e-9 * side**3 / min(times)
