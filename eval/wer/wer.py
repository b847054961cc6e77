"""Word error rate at corpus level, with a named normaliser and a rule for empty texts."""

import datasets
import evaluate
import jiwer

from audiollm.eval import EvalError
from audiollm.eval.normalizers import load_normalizer


_DESCRIPTION = """
Word error rate (WER) over a corpus: (substitutions + deletions + insertions) / words of all references, as jiwer
counts them, after a named text normaliser.
"""

_INPUTS = """
Args:
    predictions (list of str): what a system heard. An empty prediction counts as deletions.
    references (list of str): what was said. A reference that is empty after normalisation has no words to miss; each
        word predicted for it counts as an insertion.
    normalizer (str): "none", "whisper_english", "audiobench" or "mandarin_english", the last three also with ":FOLDER"
        (see audiollm.eval.normalizers).
Returns:
    wer: in percent; None if the references hold no word at all.
    substitutions, deletions, insertions, hits, reference_words: counts.
    n, n_empty_references, n_empty_predictions: numbers of texts, counted after normalisation.
    normalizer: its name.
Example:
    >>> wer = evaluate.load("eval/wer")
    >>> wer.compute(predictions=["hello word"], references=["Hello, world!"], normalizer="whisper_english")["wer"]
    50.0
"""

_CITATION = """
@inproceedings{morris2004wer,
    title = {From {WER} and {RIL} to {MER} and {WIL}: improved evaluation measures for connected speech recognition},
    author = {Morris, Andrew and Maier, Viktoria and Green, Phil},
    booktitle = {Interspeech},
    year = {2004}
}
"""


class WER(evaluate.Metric):
    """Word error rate as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://github.com/jitsi/jiwer"],
        )

    def _compute(self, predictions: list[str], references: list[str], normalizer: str = "none") -> dict:
        return word_errors(predictions, references, normalizer)


def word_errors(predictions: list[str], references: list[str], normalizer: str = "none") -> dict:
    """Count word errors over a corpus; arguments and figures as described for the module.

    Raises:
        EvalError: if there are not as many predictions as references, or for an unknown normaliser.
    """
    if len(predictions) != len(references):
        raise EvalError(f"{len(predictions)} predictions for {len(references)} references.")
    normalize = load_normalizer(normalizer)
    pairs = [(normalize(reference), normalize(prediction)) for reference, prediction in zip(references, predictions)]
    spoken = [(reference, prediction) for reference, prediction in pairs if reference]
    counts = {"substitutions": 0, "deletions": 0, "insertions": 0, "hits": 0}
    if spoken:
        output = jiwer.process_words([reference for reference, _ in spoken], [prediction for _, prediction in spoken])
        counts = {name: getattr(output, name) for name in counts}
    counts["insertions"] += sum(len(prediction.split()) for reference, prediction in pairs if not reference)
    words = counts["hits"] + counts["substitutions"] + counts["deletions"]
    errors = counts["substitutions"] + counts["deletions"] + counts["insertions"]
    return {
        "wer": 100 * errors / words if words else None,
        **counts,
        "reference_words": words,
        "n": len(pairs),
        "n_empty_references": len(pairs) - len(spoken),
        "n_empty_predictions": sum(not prediction for _, prediction in pairs),
        "normalizer": normalizer,
    }
