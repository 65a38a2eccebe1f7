"""report.html: one self-contained page on a result, which opens offline."""

from recon3d_runner.report.builder import Packed, build_report
from recon3d_runner.report.data import ReportData

__all__ = ["Packed", "ReportData", "build_report"]
