"""Rows of metrics go to an experiment tracker through `on_row`."""

import pytest

import jaxcnn
from jaxcnn import Data, Experiment, Fake
from jaxcnn.models import LeNet5
from jaxcnn.runs.metrics import read_rows

mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not among the extras")


@pytest.mark.filterwarnings("ignore:The filesystem tracking backend:FutureWarning")
def test_mlflow_gets_every_row(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    data = Data(source="fake", fake=Fake(shape=(32, 32, 1), train=32, test=16), batch_size=16)
    experiment = Experiment(model=LeNet5(), data=data, epochs=2, log_every=1)

    def log(row):
        numbers = {f"{row['split']}/{name}": value for name, value in row.items() if isinstance(value, float)}
        mlflow.log_metrics(numbers, step=row["step"])

    with mlflow.start_run() as run:
        jaxcnn.train(experiment, tmp_path / "run", on_row=log, verbose=False)
    client, rows = mlflow.MlflowClient(), read_rows(tmp_path / "run" / "metrics.jsonl")
    for name in ("train/loss", "train/learning_rate", "test/loss", "test/accuracy"):
        split, key = name.split("/")
        logged = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert logged == [(row["step"], row[key]) for row in rows if row["split"] == split] and len(logged) >= 2
