"""The bytes of a model's files: many ranged requests into preallocated files, resumable at any byte, verified."""
