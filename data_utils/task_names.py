"""The names a task file may use, MT-DNN's, and what this toolkit can do with each kind of task.

MT-DNN's names are those of its `data_utils/task_def.py`, `data_utils/metrics.py` and `mt_dnn/loss.py`, the older ones
too, so that its task files load unchanged. A kind becomes trainable when its record in `KINDS` names the data formats
it is made from, and `module.heads` has a head for it.
"""

from __future__ import annotations

from dataclasses import dataclass
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

METRICS = tuple("ACC F1 MCC Pearson Spearman AUC SeqEval EmF1 F1MAC F1MIC CMAT EmF12 SeqEvalList".split())

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


@dataclass(frozen=True)
class Kind:
    """What a task type stands for.

    Attributes:
        loss: the criterion of a task that names none.
        metrics: the metrics of a task that names none.
        formats: the data formats it is trained from; empty for a type that is read but not trained yet.
    """

    loss: str
    metrics: tuple[str, ...]
    formats: tuple[DataFormat, ...] = ()


TEXTS = (DataFormat.PremiseOnly, DataFormat.PremiseAndOneHypothesis)

KINDS: dict[TaskType, Kind] = {
    TaskType.Classification: Kind("CeCriterion", ("ACC",), TEXTS),
    TaskType.Regression: Kind("MseCriterion", ("Pearson", "Spearman"), TEXTS),
    TaskType.Ranking: Kind("RankCeCriterion", ("ACC",)),
    TaskType.Span: Kind("SpanCeCriterion", ("EmF1",)),
    TaskType.SpanYN: Kind("SpanYNCeCriterion", ("EmF12",)),
    TaskType.SeqenceLabeling: Kind("SeqCeCriterion", ("SeqEval",)),
    TaskType.MaskLM: Kind("MlmCriterion", ("ACC",)),
    TaskType.SpanSeqenceLabeling: Kind("SeqCeCriterion", ("SeqEvalList",)),
    TaskType.SeqenceGeneration: Kind("CeCriterion", ("ACC",)),
    TaskType.SeqenceGenerationMRC: Kind("CeCriterion", ("EmF1",)),
    TaskType.EncSeqenceGeneration: Kind("CeCriterion", ("ACC",)),
    TaskType.ClozeChoice: Kind("RankCeCriterion", ("EmF1",)),
}


def why_not_trained(task_type: TaskType, data_format: DataFormat) -> str | None:
    """What keeps a task of this type and format from being trained, with what can be; None for nothing."""
    if data_format in KINDS[task_type].formats:
        return None
    trained = [kind for kind, record in KINDS.items() if record.formats]
    formats = list(dict.fromkeys(f.value for kind in trained for f in KINDS[kind].formats))
    return (
        f"data_format {data_format.value}, task_type {task_type.value} is not trained by this toolkit yet; "
        f"it trains {', '.join(formats)} with {', '.join(kind.value for kind in trained)}"
    )
