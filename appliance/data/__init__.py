"""Is this good to train on? `check` reports on a file, `load` gives its usable rows, `write_rows` snapshots them;
`clean` writes a better copy, `preview` shows rows as a model will see them.

The internal form of a row is defined in `rows.py`. What these functions need is imported when they are called.
"""

from __future__ import annotations

from appliance.data.check import check, hold_out, load, write_rows
from appliance.data.clean import clean
from appliance.data.preview import preview
from appliance.data.report import Question, Report
from appliance.data.rows import TASKS, Row

__all__ = ["TASKS", "Question", "Report", "Row", "check", "clean", "hold_out", "load", "preview", "write_rows"]
