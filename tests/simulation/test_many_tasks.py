"""What an update costs does not grow with the number of tasks."""

from benchmarks.tasks import steps


def test_twenty_tasks_cost_per_update_what_one_does() -> None:
    """Counted in interpreter steps, so the machine plays no part; a tenth is left for models that step more often."""
    one, twenty = steps(1, 20_000, 600), steps(20, 20_000, 600)
    assert 1000 < one < twenty < 1.1 * one
