"""Small tasks with real learning in them, ready to run.

| task | clients | model | data |
|---|---|---|---|
| ``digits`` | label skew | softmax regression, MLP | scikit-learn |
| ``gaussian`` | label skew | softmax regression, MLP | drawn |
| ``mushrooms`` | even | logistic regression, known optimum | drawn |
| ``quadratics`` | by group | quadratic losses, all known | none |
| ``even_digits`` | even | logistic regression, known optimum | files |
| ``mnist``, ``fashion_mnist``, ``cifar10`` | label skew | small CNNs | files |
| ``shakespeare`` | roles | LSTM, next character | files |
| ``heart_disease`` | 4 hospitals | logistic regression | files |
| ``parkinsons`` | 42 subjects | small MLP, regression | files |

Those with files look for them in the folder ``data``, or else in ``HOCKET_DATA``; a missing file names its source.
"""

from hocket.learning.reference_tasks.digits import digits
from hocket.learning.reference_tasks.even_digits import even_digits
from hocket.learning.reference_tasks.gaussian import gaussian
from hocket.learning.reference_tasks.heart_disease import heart_disease
from hocket.learning.reference_tasks.images import cifar10, fashion_mnist, mnist
from hocket.learning.reference_tasks.mushrooms import mushrooms
from hocket.learning.reference_tasks.parkinsons import parkinsons
from hocket.learning.reference_tasks.quadratics import quadratics
from hocket.learning.reference_tasks.shakespeare import shakespeare

__all__ = [
    "cifar10",
    "digits",
    "even_digits",
    "fashion_mnist",
    "gaussian",
    "heart_disease",
    "mnist",
    "mushrooms",
    "parkinsons",
    "quadratics",
    "shakespeare",
]
