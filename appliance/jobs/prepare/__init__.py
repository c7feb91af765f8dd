"""From a person's words to a draft of a job: every choice resolved, with its reason. The menu, the command line and
recipes all come through here, so they do the same. A file for each kind of job.
"""

from appliance.jobs.prepare.adapters import adapter_folder, adapters, base_of
from appliance.jobs.prepare.download import download
from appliance.jobs.prepare.finetune import TASK_CHOICES, TASKS, TooManyDropped, finetune
from appliance.jobs.prepare.install import install
from appliance.jobs.prepare.merge import merge
from appliance.jobs.prepare.planned import Looked, looked_up, make_plan
from appliance.jobs.prepare.serve import serve
from appliance.jobs.prepare.words import NotHere, command, flags, model_folder

__all__ = [
    "TASKS",
    "TASK_CHOICES",
    "Looked",
    "NotHere",
    "TooManyDropped",
    "adapter_folder",
    "adapters",
    "base_of",
    "command",
    "download",
    "finetune",
    "flags",
    "install",
    "looked_up",
    "make_plan",
    "merge",
    "model_folder",
    "serve",
]
