"""The files of the reference tasks, with the checksums of the versions they were made for."""

from hocket.learning.loaders.files import File

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_OWN = "a copy of the folder that hocket's own tests use; it is made from"
_HEART = f"{_OWN} https://archive.ics.uci.edu/dataset/45 (four processed files, a column 'site' added)"
_PARKINSONS = f"{_OWN} https://archive.ics.uci.edu/dataset/189 (column 'subject#' renamed 'subject', gzipped)"

IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"


def _idx(folder: str, source: str, sums: dict[str, str]) -> dict[str, File]:
    return {name: File(f"{folder}/{name}", sha256, f"{source}/{name}") for name, sha256 in sums.items()}


MNIST = _idx(
    "mnist",
    _MNIST,
    {
        f"train-{IMAGES}": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        f"train-{LABELS}": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        f"t10k-{IMAGES}": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        f"t10k-{LABELS}": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST = _idx(
    "fashion-mnist",
    _FASHION,
    {
        f"train-{IMAGES}": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        f"train-{LABELS}": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        f"t10k-{IMAGES}": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        f"t10k-{LABELS}": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)
# CIFAR-10 comes as images and labels apart, or in the official binary format; either serves.
CIFAR10_IMAGES = {
    name: File(f"cifar10/{name}_images.npy.xz", sha256, f"{_CIFAR} as cifar10/{name}.bin, or {_OWN} that")
    for name, sha256 in {
        "data_batch_1": "2a4dfdeada72ad28d56a283fa10ab783f0747d1cacc1e0429e84c009e230186e",
        "data_batch_2": "96b88900d4d38c384f861204869a05fc4d080afe50ff07b33c3fe2793d820a4d",
        "test_batch": "b097ad8f6b1a827bc1f0655ce8fd2506c25b540d51fc68df3aef59a039921311",
    }.items()
}
CIFAR10_LABELS = File(
    "cifar10/labels.npz",
    "100457827cb30b2869dbdce3761c5279714820de9a8c6fa4d0dcc7cbc3037527",
    f"{_OWN} {_CIFAR}",
)
CIFAR10_BINARY = {
    name: File(f"cifar10/{name}.bin", sha256, _CIFAR)
    for name, sha256 in {
        "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    }.items()
}
SHAKESPEARE = File(
    "shakespeare/tinyshakespeare.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
)
HEART_DISEASE = File(
    "heart-disease/heart_disease_4sites.csv",
    "748770bd7a61f6ec388762a7e392141e473ff6d9549c745adf7a12d8b4e463bf",
    _HEART,
)
PARKINSONS = File(
    "parkinsons/parkinsons_updrs.csv.gz",
    "6c26d5ba17ed2070ac75a7f9e3b857c831a86164e624b51995ed9a3ea1fd8344",
    _PARKINSONS,
)
