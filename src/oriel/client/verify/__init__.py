"""MISSION's ten success criteria, tried on one desktop through the doors its user has."""

from oriel.client.verify.report import CRITERIA, CheckResult, Report
from oriel.client.verify.sequence import DEFAULT_URL, verify

__all__ = ["CRITERIA", "DEFAULT_URL", "CheckResult", "Report", "verify"]
