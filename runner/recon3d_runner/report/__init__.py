"""report.html: one self-contained page on a result, which opens offline."""

from recon3d_runner.report.builder import build_report
from recon3d_runner.report.data import ReportData

__all__ = ["ReportData", "build_report"]
