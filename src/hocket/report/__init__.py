"""What a run looks like to a reader: the HTML page, its figures, and numbers in human units."""

from hocket.report.figures import write_figures
from hocket.report.page import write_page
from hocket.report.units import human_bytes, human_seconds
from hocket.report.view import RunView

__all__ = ["RunView", "human_bytes", "human_seconds", "write_figures", "write_page"]
