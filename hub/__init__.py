"""From a training output to a repository that others can find, load, trust and try."""


class PublishError(ValueError):
    """A training output that can't be published; says which file is at fault and what to do."""
