"""The report of a run: one HTML page that needs nothing beside itself."""

from vlm.runner.report.page import write_report

__all__ = ['write_report']
