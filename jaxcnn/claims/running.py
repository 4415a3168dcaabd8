"""Running a claim: from its experiments to a record."""

import json
import time
from dataclasses import asdict
from pathlib import Path

from jaxcnn.claims import records
from jaxcnn.claims.claim import Claim
from jaxcnn.claims.study import Scale, Study
from jaxcnn.data import tfds
from jaxcnn.runs.workdir import check_workdir
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object
from jaxcnn.runtime.provenance import software


def run(claim: Claim, workdir: str | Path, *, seeds: int | None = None, scale: Scale = "small") -> Path:
    """Run a claim, or resume it, and write its record and picture.

    Args:
        claim: the claim.
        workdir: folder of all claims; this one uses a subfolder of its name.
        seeds: number of seeds, 2 or more; None: the claim's own.
        scale: size of the experiments.

    Returns:
        The JSON file of the record, in the subfolder; in a checkout, at scale small, in configs/results/claims.

    Raises:
        InputError: `seeds` is below 2, the data are not prepared, or the folder cannot be written.
    """
    seeds = claim.seeds if seeds is None else seeds
    if seeds < 2:
        raise InputError(f"seeds is {seeds}; it must be 2 or more, because an interval needs the spread between seeds.")
    folder = check_workdir(workdir) / claim.name
    if scale != "tiny":
        _check_data(claim)
    clock = _Clock(folder)
    study = Study(folder, seeds=seeds, scale=scale)
    try:
        # As they will be read from the record.
        measurements = json.loads(json.dumps(claim.measure(study), allow_nan=False))
    finally:
        spent = clock.stop()
    options = ("" if seeds == claim.seeds else f" --seeds={seeds}") + ("" if scale == "small" else f" --scale={scale}")
    record = {
        "claim": claim.name,
        "statement": claim.statement,
        "source": claim.source,
        "rule": claim.rule,
        "command": f"python -m jaxcnn claims {claim.name}{options}",
        "scale": scale,
        "seeds": seeds,
        **asdict(claim.decide(measurements)),
        "measurements": measurements,
        "revision": software()["git"]["revision"],
        **spent,
    }
    committed = scale == "small" and records.in_checkout()
    return records.write(record, records.package_folder() if committed else folder)


def _check_data(claim: Claim) -> None:
    for name in claim.data:
        if tfds.find(name, None) is None:
            raise tfds.not_prepared(name, None)


class _Clock:
    """Minutes spent on a claim over all its launches, kept in its folder: by the clock on the wall, and of processor
    time, which does not grow because other programs run too."""

    def __init__(self, folder: Path) -> None:
        self._path, self._begun = folder / "minutes.json", self._now()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._earlier = (
                read_object(self._path, *self._begun) if self._path.exists() else dict.fromkeys(self._begun, 0.0)
            )
            write_json(self._path, self._earlier)
        except OSError as error:
            raise InputError(f"workdir {folder.parent} cannot be written: {error.strerror}. Give another.") from None

    @staticmethod
    def _now() -> dict[str, float]:
        return {"minutes": time.perf_counter() / 60, "processor_minutes": time.process_time() / 60}

    def stop(self) -> dict[str, float]:
        now = self._now()
        spent = {name: self._earlier[name] + now[name] - self._begun[name] for name in now}
        write_json(self._path, spent)
        return spent
