"""Is this good to train on? `check` reports on a file, `load` gives its usable rows, `write_rows` snapshots them.

The internal form of a row is defined in `rows.py`.
"""

from __future__ import annotations

from appliance.data.check import check, load, write_rows
from appliance.data.report import Question, Report
from appliance.data.rows import TASKS, Row

__all__ = ["TASKS", "Question", "Report", "Row", "check", "load", "write_rows"]
