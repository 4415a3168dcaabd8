"""A step of the same network in PyTorch."""

from collections.abc import Callable

import torch
from torch.nn import functional

from jaxcnn.bench.job import DECAY, MOMENTUM, RATE, Job
from jaxcnn.bench.torch_peer import torch_peer


class TorchProgram:
    """See `program.Program`."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        if job.platform == "gpu":
            # This is JAX's default; PyTorch's default applies it only to convolutions.
            torch.set_float32_matmul_precision("high")
        self._job, self._device = job, torch.device("cuda" if job.platform == "gpu" else "cpu")
        net = torch_peer(job.model.layers(), job.shape)
        self._net = net.to(self._device, memory_format=torch.channels_last).train(job.mode == "train")
        height, width, channels = job.shape
        images = torch.randn(job.batch_size, channels, height, width, device=self._device)
        self._images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            classes = self._net.eval()(self._images[:1]).shape[-1]
        self._net.train(job.mode == "train")
        self._labels = torch.randint(classes, (job.batch_size,), device=self._device)
        self._optimizer = torch.optim.SGD(self._net.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
        self._dtype = getattr(torch, job.model.dtype)
        self.facts = {
            "platform": job.platform,
            "device": torch.cuda.get_device_name() if job.platform == "gpu" else "cpu",
            "versions": {"torch": torch.__version__},
            "compile_seconds": None,
            "temporary_bytes": None,
        }

    def step(self) -> None:
        if self._job.mode == "train":
            self._optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(self._logits(), self._labels).backward()
            self._optimizer.step()
        else:
            with torch.inference_mode():
                self._logits()
        self._wait()

    def product(self, side: int) -> Callable[[], None]:
        matrix = torch.randn(side, side, device=self._device, dtype=self._dtype)

        def run() -> None:
            matrix @ matrix
            self._wait()

        return run

    def device_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self._job.platform == "gpu" else None

    def _logits(self) -> torch.Tensor:
        lower = self._dtype != torch.float32
        with torch.autocast(self._device.type, self._dtype, enabled=lower):
            return self._net(self._images).float()

    def _wait(self) -> None:
        if self._job.platform == "gpu":
            torch.cuda.synchronize()
