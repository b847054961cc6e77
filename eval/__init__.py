"""Evaluation: metrics, judges, systems, the runner, tables and report. `audiollm eval --help` says how."""


class EvalError(ValueError):
    """An evaluation that can't be done as asked, and what to change."""
