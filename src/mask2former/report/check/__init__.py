"""The data doctor: all that is wrong or odd in a data set, before anything is trained on it."""

from mask2former.report.check.checkup import Checkup, check_data
from mask2former.report.check.findings import Finding, Findings
from mask2former.report.check.trainable import demand_trainable
from mask2former.report.check.web import write_report

__all__ = ["Checkup", "Finding", "Findings", "check_data", "demand_trainable", "write_report"]
