"""The report of a run, or of several: one HTML page that needs nothing beside itself."""

from vlm.runner.report.compare import write_comparison
from vlm.runner.report.page import write_report

__all__ = ['write_comparison', 'write_report']
