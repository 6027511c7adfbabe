"""The public surface is what it is on purpose."""

import hocket


def test_public_names() -> None:
    assert sorted(hocket.__all__) == [
        "Change", "Core", "Evaluation", "Fleet", "HocketError", "InvalidInput", "LocalSGD", "Run", "Schema",
        "Segment", "Strategy", "Task", "TaskPart", "TorchLearner", "Until", "codec", "compose", "downlink",
        "errors", "fleet", "guard", "matching", "merge", "optimizer", "pacing", "partition", "plan", "prefetch",
        "privacy", "reference_tasks", "simulate", "strategies", "submodel", "tasks", "uplink",
    ]  # fmt: skip
    assert all(getattr(hocket, name) is not None for name in hocket.__all__)


def test_the_core_imports_no_driver() -> None:
    """Imports point downwards: server, client, book and policies know no simulator, service, report or torch."""
    import subprocess
    import sys

    code = (
        "import sys, types, pathlib\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "package = types.ModuleType('hocket'); package.__path__ = [str(root)]; sys.modules['hocket'] = package\n"
        "import hocket.server, hocket.client, hocket.book, hocket.strategy, hocket.plain\n"
        "above = ('simulation', 'service', 'report', 'cli', 'experiment', 'fleet')\n"
        "bad = [m for m in sys.modules if m.split('.')[:2] in [['hocket', a] for a in above]]\n"
        "bad += [m for m in ('torch', 'aiohttp', 'pyarrow', 'sklearn') if m in sys.modules]\n"
        "sys.exit(' '.join(bad) or 0)\n"
    )
    root = hocket.__file__.rsplit("/", 1)[0]
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
