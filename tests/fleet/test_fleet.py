"""Fleet: what it holds, what it refuses, what it generates and reads."""

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from hocket.errors import InvalidInput
from hocket.fleet import Exponential, Fleet, Renewal, Trace, synthetic

TABLE = {
    "down": (synthetic.DL_KBPS, 128.0),
    "up": (synthetic.UL_KBPS, 128.0),
    "compute": (synthetic.MS_PER_SAMPLE, 0.003),
}


def small(**fields: object) -> Fleet:
    columns = {"compute": np.full(4, 0.1), "down": np.full(4, 1e6), "up": np.full(4, 1e5), **fields}
    return Fleet(**columns)


def test_arrays_are_read_only_copies() -> None:
    mine = np.full(4, 0.1)
    fleet = small(compute=mine)
    mine[0] = 9.0
    assert fleet.compute[0] == 0.1
    for name in ("compute", "down", "up", "latency", "kind"):
        column = getattr(fleet, name)
        assert column.shape == (4,)
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1
    with pytest.raises(AttributeError):
        fleet.failure = 0.5
    assert fleet.kind.dtype == np.int8
    assert len(fleet) == 4


def test_equal_passes_options_on() -> None:
    fleet = Fleet.equal(3, 0.01, 1e6, np.inf, latency=0.05, up_law=Exponential(), availability=Renewal(1.0, 2.0))
    assert fleet.latency.tolist() == [0.05] * 3
    assert np.isinf(fleet.up).all()
    assert fleet.up_law == Exponential()
    assert fleet.availability == Renewal(1.0, 2.0)


def test_pickles() -> None:
    fleet = Fleet.synthetic(5, links="parallel")
    again = pickle.loads(pickle.dumps(fleet))
    assert again.links == "parallel"
    assert (again.down == fleet.down).all()
    assert not again.down.flags.writeable


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"compute": np.array([1, 0, 1, 0.0])},
            r"client 1 has compute=0 s/sample \(1 more.*undefined_is_free",
        ),
        ({"compute": np.array([1, 1, 1, NAN])}, r"client 3 has compute=nan s/sample; it must be above 0"),
        ({"compute": np.array([1, 1, INF, 1])}, r"client 2 has compute=inf"),
        ({"compute": np.array([-1.0]), "undefined_is_free": True}, r"client 0 has compute=-1"),
        ({"compute": np.ones((2, 2))}, r"compute has shape \(2, 2\)"),
        ({"compute": np.ones(0)}, r"compute has shape \(0,\)"),
        ({"compute": ["x"]}, r"compute is not numbers"),
        ({"down": np.array([1, 1, 1, 0.0])}, r"client 3 has down=0 B/s; it must be above 0, at least 1e-9"),
        ({"up": np.array([1, NAN, 1, 1])}, r"client 1 has up=nan B/s"),
        ({"up": -5.0}, r"client 0 has up=-5 B/s \(3 more like it\)"),
        ({"down": np.ones(3)}, r"down has shape \(3,\) and compute \(4,\)"),
        ({"latency": -0.1}, r"client 0 has latency=-0\.1 s"),
        ({"latency": INF}, r"client 0 has latency=inf s"),
        ({"kind": np.array([0, 0, 1, 0])}, r"client 2 has kind=1; it must be 0 to 0"),
        ({"kind": 0.5}, r"client 0 has kind=0\.5"),
        ({"kinds": ()}, r"kinds=\(\)"),
        ({"kinds": ("a", "a")}, r"1 to 127 different names"),
        ({"failure": 1.5}, r"failure=1\.5; give a chance"),
        ({"dropout": NAN}, r"dropout=nan"),
        ({"failure": 0.6, "dropout": 0.6}, r"add up to more than 1"),
        ({"links": "lifo"}, r"links='lifo'; give 'fifo' or 'parallel'"),
        ({"egress": 0.0}, r"egress=0\.0 B/s"),
        ({"egress": INF}, r"None for no limit"),
        ({"up_law": "exponential"}, r"up_law='exponential'; give one of Deterministic"),
        ({"availability": None}, r"availability=None; give one of Always"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        small(**fields)
    assert "\n" not in str(caught.value)


def test_zero_compute_can_be_asked_for() -> None:
    assert small(compute=np.zeros(4), undefined_is_free=True).timing(0).train(0, 100, 1) == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Fleet.equal(0, 1.0, 1.0, 1.0), r"clients=0; give at least 1"),
        (lambda: Fleet.synthetic(-1), r"clients=-1"),
        (lambda: Fleet.synthetic(3, augmentation=0.0), r"augmentation=0\.0"),
        (lambda: Fleet.synthetic(3, compute=[1.0, 2.0]), r"compute has shape \(2,\) for 3 clients"),
    ],
)
def test_bad_constructor_arguments_are_named(build, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build()


def test_synthetic_has_the_table_s_quantiles() -> None:
    fleet = Fleet.synthetic(200_000, seed=0)
    for name, (table, unit) in TABLE.items():
        values = getattr(fleet, name)
        assert values.min() >= table[0] * unit * (1 - 1e-9)
        assert values.max() <= table[-1] * unit * (1 + 1e-9)
        inner = list(zip(synthetic.PERCENTILES, table, strict=True))[2:-1]
        got = np.percentile(values, [p for p, _ in inner])
        assert got / unit == pytest.approx([q for _, q in inner], rel=0.03), name
        # below 1 % the quantile climbs 50-fold: there compare the share of devices, not the value
        lowest = np.searchsorted(np.sort(values), table[1] * unit * (1 - 1e-9)) / len(fleet)
        assert lowest == pytest.approx(0.0 if table[1] == table[0] else 0.01, abs=0.001), name
    assert spearmanr(fleet.down, fleet.up).statistic == pytest.approx(0.45, abs=0.01)
    assert spearmanr(fleet.down, fleet.compute).statistic == pytest.approx(0.0, abs=0.01)
    assert (fleet.down < fleet.up).mean() == pytest.approx(0.16, abs=0.02)
    assert np.bincount(fleet.kind) / len(fleet) == pytest.approx([1 / 3] * 3, abs=0.005)
    means = [fleet.compute[fleet.kind == k].mean() for k in range(3)]
    assert means == sorted(means)
    assert fleet.kinds == ("fast", "mid", "slow")


def test_a_synthetic_device_depends_on_its_number_and_the_seed_only() -> None:
    few, many, other = Fleet.synthetic(10, seed=4), Fleet.synthetic(999, seed=4), Fleet.synthetic(10, seed=5)
    for name in ("compute", "down", "up", "kind"):
        assert (getattr(few, name) == getattr(many, name)[:10]).all()
    assert (few.down != other.down).all()
    assert Fleet.synthetic(10, down=np.inf).down.tolist() == [np.inf] * 10
    assert Fleet.synthetic(3, augmentation=0.3).compute == pytest.approx(Fleet.synthetic(3).compute / 10)


def test_own_columns_round_trip(tmp_path: Path) -> None:
    fleet = Fleet.synthetic(50, latency=0.02, up=np.inf)
    fleet.to_parquet(tmp_path / "devices.parquet")
    again = Fleet.from_parquet(tmp_path / "devices.parquet", failure=0.1)
    for name in ("compute", "down", "up", "latency", "kind"):
        assert (getattr(fleet, name) == getattr(again, name)).all()
    assert again.kinds == fleet.kinds
    assert again.failure == 0.1


def test_columns_without_latency_and_kind(tmp_path: Path) -> None:
    columns = {"compute_s_per_sample": [1, 2], "down_bytes_per_s": [3.0, 4.0], "up_bytes_per_s": [5.0, 6.0]}
    pq.write_table(pa.table({**columns, "note": ["a", "b"]}), tmp_path / "d.parquet")
    fleet = Fleet.from_parquet(tmp_path / "d.parquet")
    assert fleet.compute.tolist() == [1.0, 2.0]
    assert fleet.latency.tolist() == [0.0, 0.0]
    assert fleet.kinds == ("device",)


def test_fedfetch_columns_use_a_kbit_of_1024_bits(tmp_path: Path) -> None:
    columns = {"computation_ms": [10, 20, 60], "dl_kbps": [8.0, 16.0, 24.0], "ul_kbps": [1.0, 2.0, 4.0]}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    fleet = Fleet.from_parquet(tmp_path / "d.parquet", augmentation=0.4)
    assert fleet.compute == pytest.approx([0.004, 0.008, 0.024])
    assert fleet.down.tolist() == [1024.0, 2048.0, 3072.0]
    assert fleet.up.tolist() == [128.0, 256.0, 512.0]
    assert [fleet.kinds[k] for k in fleet.kind] == ["fast", "mid", "slow"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"dl_kbps": [1.0], "ul_kbps": [1.0]},
            r"column computation_ms is missing; found dl_kbps, ul_kbps; allowed: compute_s_per_sample, ",
        ),
        (
            {"compute_s_per_sample": [1.0], "speed": [2]},
            r"column down_bytes_per_s, up_bytes_per_s is missing; found compute_s_per_sample, speed;",
        ),
        ({"x": [1]}, r"column compute_s_per_sample, down_bytes_per_s, up_bytes_per_s is missing; found x"),
        (
            {"computation_ms": [1, None], "dl_kbps": [1.0, 2.0], "ul_kbps": [1.0, 2.0]},
            r"column computation_ms has 1 gaps",
        ),
        (
            {"computation_ms": ["1"], "dl_kbps": [1.0], "ul_kbps": [1.0]},
            r"column computation_ms is string; give numbers",
        ),
        (
            {"computation_ms": [1], "dl_kbps": [0.0], "ul_kbps": [1.0]},
            r"client 0 has down=0 B/s",
        ),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    with pytest.raises(InvalidInput, match=message):
        Fleet.from_parquet(tmp_path / "d.parquet")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no\.parquet: no such file"):
        Fleet.from_parquet(tmp_path / "no.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(InvalidInput, match=r"text\.parquet: not a Parquet file"):
        Fleet.from_parquet(tmp_path / "text.parquet")


@pytest.mark.parametrize("form", ["parquet", "npz"])
def test_whatever_is_damaged_is_one_error(form: str, tmp_path: Path) -> None:
    """Bytes cut off, put in, taken out, or changed; sizes of 2**62."""
    rng, path = random.Random(form), tmp_path / f"devices.{form}"
    if form == "npz":
        np.savez(path, a=np.arange(1.0, 50.0), b=np.arange(1.0, 30.0))
    else:
        Fleet.synthetic(8).to_parquet(path)
    whole = path.read_bytes()
    for _ in range(300):
        at, more = rng.randrange(len(whole)), rng.choice([0, 0, 1, 8])
        new = rng.choice([rng.randbytes(more), (2**62).to_bytes(8, "little"), whole[: rng.randrange(30)]])
        path.write_bytes(whole[:at] + new + rng.choice([whole[at + more :], whole[at + more :], b""]))
        try:
            Fleet.from_parquet(path) if form == "parquet" else Trace.read(path)
        except InvalidInput as error:
            assert "\n" not in str(error)


@pytest.mark.data
def test_the_real_devices_have_the_table_s_percentiles() -> None:
    path = Path(os.environ.get("HOCKET_DATA", "")) / "fedscale" / "fedfetch_client_capacity.parquet"
    if not path.is_file():
        pytest.skip("needs HOCKET_DATA with fedscale/fedfetch_client_capacity.parquet")
    fleet = Fleet.from_parquet(path)
    assert len(fleet) == 9242
    for name, (table, unit) in TABLE.items():
        got = np.percentile(getattr(fleet, name), synthetic.PERCENTILES) / unit
        assert got == pytest.approx(table, rel=1e-3), name
    assert spearmanr(fleet.down, fleet.up).statistic == pytest.approx(synthetic.RANK_CORRELATION, abs=1e-3)
