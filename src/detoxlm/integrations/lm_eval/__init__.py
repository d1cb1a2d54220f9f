"""A folder of tasks for lm-eval (`lm_eval run --include_path`)."""
