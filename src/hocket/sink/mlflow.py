"""MLflow runs in a local folder; steps are model versions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hocket.record.curve import Point
from hocket.sink.sink import directory, need, numbers


class MLflow:
    """Writes an experiment ``hocket`` with a run per run to the SQLite file ``folder/mlflow.db``.

    Raises:
        MissingExtra: mlflow is not installed.
        InvalidInput: the folder is a file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._module = need("mlflow", "mlflow")
        self._folder, self._name = directory(folder, "mlflow"), name
        self._client: Any = None
        self._run = ""

    def begin(self, about: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._client = self._module.MlflowClient(f"sqlite:///{self._folder.resolve() / 'mlflow.db'}")
        known = self._client.get_experiment_by_name("hocket")
        experiment = self._client.create_experiment("hocket") if known is None else known.experiment_id
        self._run = self._client.create_run(experiment, run_name=self._name).info.run_id
        for key, value in about.items():
            self._client.log_param(self._run, key, value)

    def point(self, point: Point) -> None:
        for key, value in numbers(point).items():
            self._client.log_metric(self._run, key, value, step=point.version)

    def end(self, summary: Mapping[str, Any] | None) -> None:
        self._client.set_terminated(self._run, "KILLED" if summary is None else "FINISHED")
