"""Start, watch, stop, resume: a job is one piece of work, done by a detached worker, in one folder."""
