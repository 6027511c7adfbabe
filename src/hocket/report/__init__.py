"""What a run looks like to a reader: the HTML page, and numbers in human units."""

from hocket.report.page import RunView, write_page
from hocket.report.units import human_bytes, human_seconds

__all__ = ["RunView", "human_bytes", "human_seconds", "write_page"]
