"""The plays of Shakespeare: each role is a client, and a model continues what it says."""

from pathlib import Path

import numpy as np

from hocket.errors import InvalidInput
from hocket.learning.data import ClientData, Examples
from hocket.learning.loaders import catalog, text
from hocket.learning.local import LocalSGD
from hocket.learning.partition import natural
from hocket.learning.task import Objective, Task

_LEAST = 10


def shakespeare(
    clients: int = 100,
    *,
    data: str | Path | None = None,
    length: int = 40,
    embedding: int = 16,
    hidden: int = 128,
    roles: int | None = None,
    held_out: int | None = None,
    local: LocalSGD | None = None,
    objective: Objective = "uniform",
    name: str = "shakespeare",
) -> Task:
    """The next character in windows of ``length``, for the ``clients`` roles that say most; 65 characters.

    Of each role's windows, in the order of the text, eight tenths are for training, then a tenth for validation and
    a tenth for test. A role needs ten windows; ``held_out`` measures on that many of each split. With ``roles``, so
    many are dealt to the clients in turn, and several clients have the same one. Accuracy is that of every position.
    Nothing is drawn. Default local work: one pass in batches of 10 at rate 2.

    Raises:
        MissingData: no folder is given, or it has not the file.
        MissingExtra: torch is not installed.
        InvalidInput: a damaged file, or more clients than roles with ten windows.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017
    (the play by roles); Karpathy, char-rnn, 2015 (the text).
    """
    play = catalog.SHAKESPEARE.read(data).decode("ascii")
    characters = text.vocabulary(play)
    by_length = sorted(text.by_role(play).items(), key=lambda said: -len(said[1]))
    wanted, what = (clients, "clients") if roles is None else (roles, "roles")
    able = sum(len(said) > _LEAST * length for _, said in by_length)
    if not 1 <= wanted <= min(clients, able):
        raise InvalidInput(
            f"{name}: {what} is {wanted}; {able} roles say {_LEAST} windows of {length} or more"
            + ("" if roles is None else f", and there are {clients} clients")
        )
    codes, following, role = text.windows_by_role(dict(by_length[:wanted]), characters, length)

    begin = np.searchsorted(role, role)
    tenth = 10 * (np.arange(len(role)) - begin) // np.bincount(role)[role]
    train, validation, test = (np.flatnonzero(kept) for kept in (tenth < 8, tenth == 8, tenth == 9))
    if held_out is not None:
        if held_out < 1:
            raise InvalidInput(f"{name}: held_out is {held_out}; it must be 1 or more")
        validation, test = (rows[:: max(1, len(rows) // held_out)][:held_out] for rows in (validation, test))
    said = [train[rows] for rows in natural(role[train])]
    parts = [said[c % wanted] for c in range(clients)]
    divided = ClientData.divided(Examples(codes, following, name), parts, validation, test)

    from hocket.learning.reference_tasks.models import CharacterLSTM
    from hocket.learning.torch_learner import TorchLearner

    learner = TorchLearner(lambda: CharacterLSTM(len(characters), embedding, hidden), divided, loss="next_character")
    return Task.of(learner, local or LocalSGD(lr=2.0, batch_size=10), name=name, objective=objective)
