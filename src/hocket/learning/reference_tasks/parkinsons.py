"""Parkinson's disease from the voice: a client per subject, a regression, and an order in time."""

from pathlib import Path
from typing import Literal

import numpy as np

from hocket.errors import InvalidInput
from hocket.learning.data import ClientData, Examples
from hocket.learning.loaders import catalog, table
from hocket.learning.local import LocalSGD
from hocket.learning.partition import natural
from hocket.learning.task import Objective, Task

Target = Literal["total_UPDRS", "motor_UPDRS"]
SUBJECTS = 42
_APART = ("subject", "total_UPDRS", "motor_UPDRS")


def parkinsons(
    clients: int = SUBJECTS,
    *,
    data: str | Path | None = None,
    target: Target = "total_UPDRS",
    hidden: tuple[int, ...] = (64,),
    local: LocalSGD | None = None,
    objective: Objective = "uniform",
    name: str = "parkinsons",
) -> Task:
    """A clinical score from 16 measurements of the voice, age, sex and time: 5,875 recordings of 42 subjects.

    Of each subject's recordings, in the order of time, eight tenths are for training, then a tenth for validation
    and a tenth for test. Columns and ``target`` are standardised over all training rows, so that a mean squared error
    of 1 is what the mean would give. Nothing is drawn. Default local work: 4 steps of 20
    recordings at rate 0.05: subjects differ so much that longer work pulls the model apart.

    Raises:
        MissingData: no folder is given, or it has not the file.
        MissingExtra: torch is not installed.
        InvalidInput: a damaged file, another target, or another number of clients than 42.

    Source: Tsanas, Little, McSharry and Ramig, "Accurate telemonitoring of Parkinson's disease progression by
    noninvasive speech tests", IEEE Transactions on Biomedical Engineering, 2010; UCI.
    """
    if clients != SUBJECTS:
        raise InvalidInput(f"{name}: clients is {clients}; there are {SUBJECTS} subjects")
    if target not in _APART[1:]:
        raise InvalidInput(f"{name}: target is {target!r}; it must be 'total_UPDRS' or 'motor_UPDRS'")
    columns = table.decode(catalog.PARKINSONS.read(data), catalog.PARKINSONS.path)
    subjects = [rows[np.argsort(columns["test_time"][rows], kind="stable")] for rows in natural(columns["subject"])]
    train, validation, test = zip(*(np.split(r, [len(r) * 8 // 10, len(r) * 9 // 10]) for r in subjects), strict=True)
    trained = np.concatenate(train)
    encoder = table.Encoder.fit(columns, [c for c in columns if c not in _APART], [], trained)
    score = table.Encoder.fit(columns, [target], [], trained).encode(columns)[:, 0]
    known = Examples(encoder.encode(columns), score, name)
    divided = ClientData.divided(known, train, np.concatenate(validation), np.concatenate(test))

    from hocket.learning.reference_tasks.models import mlp
    from hocket.learning.torch_learner import TorchLearner

    learner = TorchLearner(lambda: mlp(known.features.shape[1], hidden, 1), divided, loss="mse")
    return Task.of(learner, local or LocalSGD(lr=0.05, batch_size=20, steps=4), name=name, objective=objective)
