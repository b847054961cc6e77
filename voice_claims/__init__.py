"""What free text claims of a voice, and whether the clip bears it out.

The metric `cue_score` and rewards of a training both check through here.
"""
