"""The models of the reference tasks, as plain torch modules."""

from hocket.errors import InvalidInput, MissingExtra

try:
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtra("reference tasks: torch is not installed; pip install 'hocket[torch]'") from error


def cnn(channels: int, size: int, classes: int, widths: tuple[int, int] = (8, 16)) -> nn.Module:
    """Two 5x5 convolutions with ReLU and 2x2 max pooling, then one linear layer; images [n, channels, size, size]."""
    first, second = widths
    return nn.Sequential(
        nn.Conv2d(channels, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (size // 4) ** 2, classes),
    )


def lenet(channels: int, size: int, classes: int) -> nn.Module:
    """LeNet-5 with ReLU and max pooling: 6 and 16 maps, then 120 and 84 features; images [n, channels, size, size].

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (size // 4 - 2) ** 2, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def perceptron(features: int, hidden: tuple[int, ...], classes: int) -> nn.Module:
    """Linear layers with ReLU between them; images of any shape are flattened."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))


class CharacterLSTM(nn.Module):
    """Embedding, one LSTM, one linear layer: int64 [n, positions] to scores [n, positions, characters]."""

    def __init__(self, characters: int, embedding: int = 16, hidden: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.output = nn.Linear(hidden, characters)

    def forward(self, codes: Tensor) -> Tensor:
        said, _ = self.lstm(self.embedding(codes))
        scores: Tensor = self.output(said)
        return scores


def mlp(features: int, hidden: tuple[int, ...], outputs: int) -> nn.Module:
    """Linear layers with tanh between them; without ``hidden`` one linear layer."""
    layers: list[nn.Module] = []
    for width in hidden:
        if width < 1:
            raise InvalidInput(f"hidden is {list(hidden)}; each width must be 1 or more")
        layers += [nn.Linear(features, width), nn.Tanh()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs))
