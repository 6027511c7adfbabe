"""``hocket story``: the rows of the log that concern a client or a lease."""

import pytest

from hocket.record.log import KINDS, read_log


@pytest.mark.parametrize("column", ["client", "lease"])
def test_the_rows_equal_the_log(here, hocket, column):
    assert hocket("simulate", "small.toml", "--set", "until.updates=20", "--out", "run")[0] == 0
    log = [row for row in read_log(here / "run").to_pylist() if row[column] == 3]
    code, out, _ = hocket("story", "run", f"{column}:3")
    shown = [line.split()[:2] for line in out.splitlines()[1:]]
    assert code == 0 and shown == [[f"{row['time_ns'] / 1e9:.3f}", KINDS[row["kind"]]] for row in log] and log


@pytest.mark.parametrize(
    "name, said",
    [
        ("12", "write client:12 or lease:345"),
        ("client:-1", "write client:12 or lease:345"),
        ("client:99", "nothing in the event log of run; the largest number is client:"),
        ("lease:999999999999999999", "nothing in the event log of run; the largest number is lease:"),
    ],
)
def test_a_bad_name_is_one_line(here, hocket, name, said):
    hocket("simulate", "small.toml", "--set", "until.updates=20", "--out", "run")
    code, out, err = hocket("story", "run", name)
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err


def test_no_run_and_a_torn_log(here, hocket):
    code, _, err = hocket("story", ".", "client:1")
    assert code == 2 and "no event log" in err
    (here / "events").mkdir()
    (here / "events" / "000000.parquet").write_bytes(b"torn")
    code, _, err = hocket("story", ".", "client:1")
    assert code == 5 and err.count("\n") == 1
