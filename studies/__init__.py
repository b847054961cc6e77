"""The paper's comparisons: what a study's runs are, what is done of them, what they show."""
