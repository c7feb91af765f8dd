"""From a person's words to a draft of a job: every choice resolved, with its reason. The menu, the command line and
recipes all come through here, so they do the same. A file for each kind of job.
"""

from appliance.jobs.prepare.adapters import adapter_folder, adapters, base_of
from appliance.jobs.prepare.download import download, download_data
from appliance.jobs.prepare.finetune import TooManyDropped, finetune, unfulfillable
from appliance.jobs.prepare.install import install
from appliance.jobs.prepare.merge import merge
from appliance.jobs.prepare.planned import TASK_CHOICES, TASKS, Looked, looked_up, make_plan, rows_from
from appliance.jobs.prepare.quantize import accept, lost_too_much, quantize, taught_with
from appliance.jobs.prepare.serve import has_page, serve
from appliance.jobs.prepare.words import NotHere, command, flags, model_folder

__all__ = [
    "TASKS",
    "TASK_CHOICES",
    "Looked",
    "NotHere",
    "TooManyDropped",
    "accept",
    "adapter_folder",
    "adapters",
    "base_of",
    "command",
    "download",
    "download_data",
    "finetune",
    "flags",
    "has_page",
    "install",
    "looked_up",
    "lost_too_much",
    "make_plan",
    "merge",
    "model_folder",
    "quantize",
    "rows_from",
    "serve",
    "taught_with",
    "unfulfillable",
]
