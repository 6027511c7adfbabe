"""Heart disease in four hospitals: few clients, small tables with holes in them."""

from pathlib import Path

import numpy as np

from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.learning.data import ClientData, Examples
from hocket.learning.loaders import catalog, table
from hocket.learning.local import LocalSGD
from hocket.learning.partition import natural
from hocket.learning.task import Objective, Task

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
NUMERIC = ("age", "trestbps", "chol", "thalach", "oldpeak")
CATEGORICAL = ("sex", "cp", "fbs", "restecg", "exang", "slope", "ca", "thal")


def heart_disease(
    clients: int = 4,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    hidden: tuple[int, ...] = (),
    local: LocalSGD | None = None,
    objective: Objective = "samples",
    name: str = "heart_disease",
) -> Task:
    """Is there heart disease? 920 patients of 4 hospitals, 13 measurements, logistic regression.

    Of each hospital's patients, shuffled by ``seed``, seven tenths are for training, a tenth for validation and two
    tenths for test. Empty cells of a number become its median over all training rows, those of a category belong
    to no category; a blood pressure or cholesterol of 0 is an empty cell. ``hidden`` are the layers of an MLP. The
    metric ``auc`` is the area under the ROC curve. Default local work: one pass in batches of 16 at rate 0.05.

    Raises:
        MissingData: no folder is given, or it has not the file.
        MissingExtra: torch is not installed.
        InvalidInput: a damaged file, or another number of clients than 4.

    Source: Detrano et al., "International application of a new probability algorithm for the diagnosis of coronary
    artery disease", American Journal of Cardiology, 1989; UCI.
    """
    if clients != len(HOSPITALS):
        raise InvalidInput(f"{name}: clients is {clients}; the hospitals are {len(HOSPITALS)}: {', '.join(HOSPITALS)}")
    columns = table.decode(catalog.HEART_DISEASE.read(data), catalog.HEART_DISEASE.path)
    for measured in ("trestbps", "chol"):
        columns[measured] = np.where(columns[measured] == 0, np.nan, columns[measured])
    hospitals = natural(columns["site"])
    shuffled = [generator(key(seed, "heart", i)).permutation(rows) for i, rows in enumerate(hospitals)]
    train, validation, test = zip(*(np.split(r, [len(r) * 7 // 10, len(r) * 8 // 10]) for r in shuffled), strict=True)
    encoder = table.Encoder.fit(columns, NUMERIC, CATEGORICAL, np.concatenate(train))
    known = Examples(encoder.encode(columns), (columns["num"] > 0).astype(np.int64), name)
    divided = ClientData.divided(known, train, np.concatenate(validation), np.concatenate(test))

    from hocket.learning.reference_tasks.models import mlp
    from hocket.learning.torch_learner import TorchLearner

    learner = TorchLearner(lambda: mlp(known.features.shape[1], hidden, 1), divided, loss="bce")
    return Task.of(learner, local or LocalSGD(lr=0.05, batch_size=16), name=name, objective=objective)
