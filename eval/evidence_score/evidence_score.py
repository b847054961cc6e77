"""Do explanations quote, and was the quoted said? Decided by rules, without a language model."""

from collections.abc import Sequence

import datasets
import evaluate

from audiollm.eval.judges import Item, load_judge
from audiollm.eval.judges.ratings import Rating, rating_figures
from audiollm.modeling_audiollm.evidence import FUZZY_THRESHOLD, find_quotes, ground_quote


_DESCRIPTION = """
Evidence in explanations. Quotation: the share of explanations with at least one quote (the paper's Quotation).
Groundedness by rule: the share of quotes that occur in the transcript, exactly, but for case and punctuation
("normalised"), or with few wrong words ("fuzzy"). The paper's Groundedness and Relevance are a language model's
ratings from 0 to 2: other figures, given beside these when a judge is named. Its rubric's levels are put in our words.
"""

_INPUTS = """
Args:
    predictions (list of str): explanations.
    references (list of str): transcripts of the recordings; None or empty where there is none (quotes there are
        counted, and left out of groundedness).
    threshold (float): least share of right words of a fuzzy match.
    contexts (list of list of str): earlier turns that each explanation's system was told, if any.
    judge (str): "rule" (no language model), or "llm:MODEL", where MODEL is a folder or "server:NAME@URL".
    questions (list of str): what was asked; the judge of relevance is shown it.
    journal (str): file that keeps the judge's verdicts, so that none is asked for twice.
Returns:
    quotation: explanations with a quote, in percent.
    quotes_grounded: quotes that occur in the transcript, in percent of all quotes with a transcript.
    quotes_exact, quotes_normalised: the same with exact, and with exact or normalised matches only.
    answers_grounded: explanations whose quotes all occur, in percent of the explanations that quote.
    quotes_from_context: quotes that occur in an earlier turn alone, in percent of the quotes with a transcript in
        explanations whose system was told earlier turns; they are not grounded. None without context.
    n, n_quoting, n_quotes, n_quotes_without_transcript; threshold.
    groundedness, relevance (with a language model as judge): mean rating of all explanations that were scored, 0 to
        100; groundedness_judge, relevance_judge: counts of ratings and failures behind them.
Example:
    >>> evidence = evaluate.load("eval/evidence_score")
    >>> evidence.compute(predictions=['Sad: "I miss him".'], references=["I miss him."])["quotes_grounded"]
    100.0
"""

_CITATION = """
@inproceedings{zhang2025beyond,
    title = {Beyond Classification: Towards Speech Emotion Reasoning with Multitask {AudioLLM}s},
    author = {Zhang, Wenyu and He, Yingxu and Lin, Geyu and Liu, Zhuohan and Sun, Shuo and Wang, Bin and
        Zou, Xunlong and Wong, Jeremy H. M. and Wang, Qiongqiong and Sailor, Hardik B. and Chen, Nancy F. and
        Aw, Ai Ti},
    booktitle = {IJCNLP-AACL},
    year = {2025}
}
"""


class EvidenceScore(evaluate.Metric):
    """Quotation and rule-based groundedness as an `evaluate` module."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://aclanthology.org/2025.ijcnlp-long.62"],
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        threshold: float = FUZZY_THRESHOLD,
        judge: str = "rule",
        contexts: list[list[str]] | None = None,
        questions: list[str] | None = None,
        journal: str | None = None,
    ) -> dict:
        figures = evidence_figures(predictions, references, threshold, contexts)
        if judge == "rule":
            return figures
        texts = zip(predictions, references, questions or [""] * len(predictions))
        items = [
            Item("", {"answer": prediction, "transcript": transcript or "", "question": question})
            for prediction, transcript, question in texts
        ]
        rater = load_judge(judge, journal=journal)
        return figures | judged_evidence({what: rater.rate(what, items) for what in JUDGED})


JUDGED = ("groundedness", "relevance")
HIGHEST_RATING = 2


def judged_evidence(ratings: dict[str, list[Rating]]) -> dict:
    """Figures of a language model's ratings of groundedness and relevance, as described for the module."""
    details = {what: rating_figures(given, HIGHEST_RATING) for what, given in ratings.items()}
    scores = {what: figures["score"] for what, figures in details.items()}
    return scores | {f"{what}_judge": figures for what, figures in details.items()}


def evidence_figures(
    predictions: Sequence[str],
    transcripts: Sequence[str | None],
    threshold: float = FUZZY_THRESHOLD,
    contexts: Sequence[Sequence[str]] | None = None,
) -> dict:
    """Quotation and groundedness of explanations, as described for the module."""
    kinds, with_turns, quoting, answers, grounded_answers, without = [], 0, 0, 0, 0, 0
    before = contexts or [()] * len(predictions)
    for prediction, transcript, context in zip(predictions, transcripts, before):
        quotes = find_quotes(prediction)
        quoting += bool(quotes)
        if not transcript:
            without += len(quotes)
            continue
        found = [ground_quote(quote.text, transcript, threshold, context) for quote in quotes]
        kinds += [grounding.kind for grounding in found]
        with_turns += len(found) if context else 0
        answers += bool(found)
        grounded_answers += bool(found) and all(grounding.grounded for grounding in found)
    exact, normalised, fuzzy = (kinds.count(kind) for kind in ("exact", "normalised", "fuzzy"))
    return {
        "quotation": _percent(quoting, len(predictions)),
        "quotes_grounded": _percent(exact + normalised + fuzzy, len(kinds)),
        "quotes_exact": _percent(exact, len(kinds)),
        "quotes_normalised": _percent(exact + normalised, len(kinds)),
        "quotes_from_context": _percent(kinds.count("context"), with_turns),
        "answers_grounded": _percent(grounded_answers, answers),
        "n": len(predictions),
        "n_quoting": quoting,
        "n_quotes": len(kinds) + without,
        "n_quotes_without_transcript": without,
        "threshold": threshold,
    }


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
