import pytest

from jaxcnn import InputError
from jaxcnn.sweep.shards import share


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_shards_share_out_every_item_once(count):
    parts = [share(range(10), f"{index}/{count}") for index in range(count)]
    assert sorted(x for part in parts for x in part) == [*range(10)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_a_shard_all_items_are_taken():
    assert share("abc", None) == ["a", "b", "c"]


def slurm(task, first, last, step=1, count=None):
    count = (last - first) // step + 1 if count is None else count
    names = {"ID": task, "MIN": first, "MAX": last, "STEP": step, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


@pytest.mark.parametrize(("first", "last", "step"), [(0, 3, 1), (1, 4, 1), (5, 20, 5), (0, 0, 1), (2, 9, 3)])
def test_the_tasks_of_a_job_array_share_out_every_item_once(first, last, step):
    tasks = range(first, last + 1, step)
    parts = [share(range(11), "slurm", slurm(task, first, tasks[-1], step)) for task in tasks]
    assert parts == [share(range(11), f"{i}/{len(tasks)}") for i in range(len(tasks))]


@pytest.mark.parametrize(
    ("shard", "environment", "message"),
    [
        ("2/2", {}, "shard is 2/2; of 2 shards the first number must be from 0 to 1"),
        ("1/0", {}, "it must be I/N with N at least 1"),
        ("1of2", {}, "it must be I/N"),
        ("-1/2", {}, "it must be I/N"),
        ("slurm", {}, "SLURM_ARRAY_TASK_ID is not set"),
        ("slurm", slurm(7, 1, 7, count=3), r"the job array has gaps \(tasks 1 to 7, 3 of them\)"),
        ("slurm", slurm(3, 0, 6, step=2), "task 3 is not one of the job array's, 0 to 6 in steps of 2"),
        ("slurm", slurm(5, 0, 1), "task 5 is not one of the job array's"),
        ("slurm", slurm(0, 0, 1, step=1) | {"SLURM_ARRAY_TASK_STEP": "0"}, "steps of 0"),
        ("slurm", slurm("x", 0, 1), "SLURM_ARRAY_TASK_ID is 'x', not a number"),
    ],
)
def test_shards_that_are_refused(shard, environment, message):
    with pytest.raises(InputError, match=message):
        share(range(4), shard, environment)
