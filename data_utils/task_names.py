"""The names that a task file may use: MT-DNN's, and a few of ours. Which kinds can be trained `data_utils.kinds` says.

MT-DNN's names are those of its `data_utils/task_def.py`, `data_utils/metrics.py` and `mt_dnn/loss.py`, the older ones
too, so that its task files load unchanged.
"""

from __future__ import annotations

from enum import Enum


class DataFormat(str, Enum):
    """How a row's text is laid out. `Seqence` is MT-DNN's spelling and stays the name on disk."""

    PremiseOnly = "PremiseOnly"
    PremiseAndOneHypothesis = "PremiseAndOneHypothesis"
    PremiseAndMultiHypothesis = "PremiseAndMultiHypothesis"
    Seqence = "Seqence"
    MRC = "MRC"
    MLM = "MLM"
    CLUE_CLASSIFICATION = "CLUE_CLASSIFICATION"
    CLUE_SPAN = "CLUE_SPAN"
    CLUE_SEQ = "CLUE_SEQ"
    CLUE_GEN = "CLUE_GEN"
    ClozeChoice = "ClozeChoice"


class TaskType(str, Enum):
    """What is predicted; selects the head."""

    Classification = "Classification"
    Regression = "Regression"
    Ranking = "Ranking"
    Span = "Span"
    SpanYN = "SpanYN"
    SeqenceLabeling = "SeqenceLabeling"
    MaskLM = "MaskLM"
    SpanSeqenceLabeling = "SpanSeqenceLabeling"
    SeqenceGeneration = "SeqenceGeneration"
    SeqenceGenerationMRC = "SeqenceGenerationMRC"
    EncSeqenceGeneration = "EncSeqenceGeneration"
    ClozeChoice = "ClozeChoice"


SPELLINGS = {
    "Sequence": "Seqence",
    "SequenceLabeling": "SeqenceLabeling",
    "SpanClassification": "Span",
    "SpanClassificationYN": "SpanYN",
}
"""Other spellings of the names above. MT-DNN renamed Span to SpanClassification."""

METRICS = tuple("ACC F1 MCC Pearson Spearman AUC SeqEval EmF1 EM F1MAC F1MIC CMAT EmF12 SeqEvalList MRR".split())

LOSSES = (
    "CeCriterion",
    "MseCriterion",
    "RankCeCriterion",
    "SpanCeCriterion",
    "SpanYNCeCriterion",
    "SeqCeCriterion",
    "MlmCriterion",
    "KlCriterion",
    "SymKlCriterion",
    "NsKlCriterion",
    "NsSymKlCriterion",
    "JSCriterion",
    "HLCriterion",
)
