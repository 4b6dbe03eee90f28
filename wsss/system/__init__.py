"""Files, failures, exit codes, worker processes, progress, GPUs and launching: nothing here changes a result."""
