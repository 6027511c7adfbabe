"""Colours of the figures, as CSS: the same rules serve the page and a figure that stands alone.

Series take Okabe and Ito's colours, which people who confuse red and green can tell apart, lightened on dark pages.
From the ninth series on lines are dashed.
"""

SERIES = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#b3568d", "#2a93cf", "#b87a00", "#6b5fc7", "#5a5a5a"),
    "dark": ("#56b4e9", "#f08a3c", "#2fc79a", "#e29cc4", "#9fd3f5", "#f0c040", "#b0a5ff", "#c8c8c8"),
}
INK = {
    "light": {"page": "#ffffff", "ink": "#1d2329", "soft": "#56616b", "rule": "#c9d0d6", "grid": "#e9edf0"},
    "dark": {"page": "#14181c", "ink": "#e4e8ec", "soft": "#a3adb6", "rule": "#465059", "grid": "#272e35"},
}
FONT = 'system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans","DejaVu Sans",sans-serif'


HEAT = 8
"""Levels of a heat map."""


def series(i: int) -> str:
    """The classes of the i-th series.

    >>> series(0), series(9)
    ('s0', 's1 dash')
    """
    return f"s{i % 8}" + (" dash" if i >= 8 else "")


def rules(theme: str) -> str:
    """CSS of the marks in a ``light`` or ``dark`` theme."""
    ink = INK[theme]
    lines = [
        f".chart text{{fill:{ink['soft']};font:12px {FONT}}}",
        f".chart text.strong{{fill:{ink['ink']}}}",
        f".halo{{stroke:{ink['page']};stroke-width:4px;paint-order:stroke;stroke-linejoin:round}}",
        f".grid{{stroke:{ink['grid']};fill:none}}",
        f".axis{{stroke:{ink['rule']};fill:none}}",
        f".mark{{stroke:{ink['soft']};fill:none;stroke-dasharray:5 4}}",
        f".lost{{fill:{ink['soft']};fill-opacity:.45}}",
        f".none{{fill:{ink['grid']}}}",
        ".line{fill:none;stroke-width:1.8;stroke-linejoin:round}.line.dash{stroke-dasharray:6 3}",
        ".soft{fill-opacity:.16}.faint{fill-opacity:.38}.stacked{fill-opacity:.8}",
    ]
    heat = SERIES[theme][0]
    lines += [f".h{level}{{fill:{heat};fill-opacity:{level / HEAT:.2f}}}" for level in range(1, HEAT + 1)]
    for i, colour in enumerate(SERIES[theme]):
        lines.append(f".line.s{i}{{stroke:{colour}}}.fill.s{i}{{fill:{colour}}}.key.s{i}{{background:{colour}}}")
    return "\n".join(lines)
