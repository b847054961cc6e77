"""What free text says of a speaker's emotion: a vocabulary, the spelling of labels, and the reading of sentences.

Judging answers and accepting explanations for training both read through here.
"""
