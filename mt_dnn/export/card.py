"""The model card, `README.md`: what the model does, how to load it, what it was trained on, how, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import yaml

from data_utils.kinds.kind import SEQUENCE
from data_utils.kinds.span import LONGEST_ANSWER
from data_utils.strict import listed
from data_utils.task_def import DataFormat, TaskDef
from mt_dnn.config import FLAGS
from mt_dnn.export.heads import USES
from mt_dnn.export.source import UNKNOWN, Origin
from mt_dnn.places import PLACES
from mt_dnn.record.finished import Run
from mt_dnn.record.results import ALIKE
from mt_dnn.record.run_folder import versions

ALWAYS = ("learning_rate", "batch_size", "epochs", "seed", "max_seq_len", "dropout_p", "pooler")
"""Settings that the card always has, beside those of PATS or SAGE where they run; of the others what is not the
default."""

NO_SETTING = {*PLACES, "output_dir", "train_datasets", "test_datasets", "tensorboard", "dev_predictions", "optim"}
NO_SETTING |= {name for name in FLAGS if name.endswith("_per_updates") or name == "keep_checkpoints"}
"""Of `config.yaml`: places, what the card says elsewhere, and what has no effect on the model."""


@dataclass(frozen=True)
class Card:
    """All that a card tells.

    Attributes:
        name: of the exported folder.
        task: the exported one; None for the encoder alone.
        tasks: names of all that it was trained on.
        custom: whether code comes along, so that it takes `trust_remote_code`.
        max_length: tokens of a row.
        onnx: whether `model.onnx` is there.
        tells_breaks: whether the tokenizer reads line ends otherwise than training did.
    """

    name: str
    task: TaskDef | None
    tasks: tuple[str, ...]
    run: Run
    custom: bool
    max_length: int
    onnx: bool = False
    tells_breaks: bool = False

    def text(self) -> str:
        """The whole file."""
        origin = Origin.of(self.run.settings)
        parts = [self._front(origin), f"# {self.name}\n", self._about(origin), "## Load it\n", self._loading()]
        parts += ["## Data\n", *self._data(), "## Scores\n", *self._scores(), "## Training\n", *self._training(origin)]
        return "\n".join(parts)

    def _front(self, origin: Origin) -> str:
        identifier = origin.licence if " " not in origin.licence else "other"
        front: dict[str, Any] = {"license": identifier, "library_name": "transformers"}
        front["pipeline_tag"] = USES[self.task.type_name].tag if self.task else "feature-extraction"
        if origin.hub:
            front["base_model"] = origin.name
        return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---"

    def _about(self, origin: Origin) -> str:
        together = f", trained together on {listed(self.tasks)}" if len(self.tasks) > 1 else ""
        if self.task is None:
            return f"The encoder of {origin.name} after fine-tuning on {listed(self.tasks)}. It has no head.\n"
        lines = [f"{origin.name}, fine-tuned for the task `{self.task.name}` ({self.task.type_name}){together}.\n"]
        if self.task.label_names and self.task.kind.name != "Ranking":
            lines.append(f"Labels, in the order of their ids: {', '.join(self.task.label_names)}.\n")
        return "\n".join(lines)

    def _loading(self) -> str:
        trust = ", trust_remote_code=True" if self.custom else ""
        lines = [LOADING[self.task.type_name if self.task else ""].format(trust=trust, name=self.name, **self._call())]
        if self.custom:
            lines.append(
                "`trust_remote_code=True` runs `custom_model.py` of this folder: `transformers` has no class for this "
                "encoder that computes the head it was trained with.\n"
            )
        if self.task and self.task.type_name == "Span":
            lines.append(_of_answers(self.task))
        if self.task:
            cuts = "; `truncation` cuts longer ones" if "truncation=" in lines[0] else ""
            lines.append(f"Rows were cut to {self.max_length} tokens{cuts}.\n")
        if self.tells_breaks and self.task and self.task.kind.level == SEQUENCE:
            lines.append(
                "In training a line end or a tab was a space, and this tokenizer tells them apart. Replace them first: "
                '`re.sub(r"\\r\\n|[\\t\\n\\r]", " ", text)`.\n'
            )
        if self.onnx:
            lines.append("`model.onnx` gives the same logits with onnxruntime; rows and tokens may be of any number.\n")
        return "\n".join(lines)

    def _call(self) -> dict[str, str]:
        pair = self.task is not None and self.task.data_format is DataFormat.PremiseAndOneHypothesis
        return {"row": '{"text": "A text.", "text_pair": "Another."}' if pair else '"A text."'}

    def _data(self) -> list[str]:
        if not self.run.tasks:
            return ["The run's record of its rows is not there.\n"]
        lines = ["| task | rows to train | rows to evaluate |", "| --- | ---: | --- |"]
        for name, task in self.run.tasks.items():
            dev = ", ".join(f"{split} {count:,}" for split, count in task["dev_rows"].items()) or "none"
            lines.append(f"| {name} | {task['train_rows']:,} | {dev} |")
        return [*lines, ""]

    def _scores(self) -> list[str]:
        results = self.run.results
        if not results:
            why = "had not ended when this was exported" if self.run.settings else "is not beside the model"
            return [f"None are known: the run {why}.\n"]
        lines = ["In points out of 100, on rows that it was not trained on. The dev scores chose the epoch.\n"]
        lines += ["| task | split | scores |", "| --- | --- | --- |"]
        for name, task in results["tasks"].items():
            if self.task is None or name == self.task.name:
                lines += [f"| {name} | {split} | {words} |" for split, words in _measured(task, results)]
        about = [f"\n{line}." for line in self.task.kind.notes(self.task)] if self.task else []
        return [*lines, *about, ""]

    def _training(self, origin: Origin) -> list[str]:
        settings = self.run.settings
        method = self.run.results.get("optim") or settings.get("optim", UNKNOWN)
        own = [name for name in FLAGS if name.startswith(("pats_", "sage_")) and name[:4] in method]
        changed = [n for n, flag in FLAGS.items() if not flag.required and settings.get(n) != flag.field.default]
        names = [n for n in dict.fromkeys([*ALWAYS, *own, *changed]) if n in settings and n not in NO_SETTING]
        lines = [f"- encoder: {origin.name}; its licence: {origin.licence}", f"- optimizer: {method}"]
        lines += [f"- {name}: {settings[name]}" for name in names] or ["- settings: the run's config.yaml is not there"]
        trained = self.run.results.get("versions") or dict.fromkeys(versions(), UNKNOWN)
        for verb, found in (("trained", trained), ("exported", versions())):
            lines.append(f"- {verb} with {', '.join(f'{what} {version}' for what, version in found.items())}")
        return [*lines, ""]


def _of_answers(task: TaskDef) -> str:
    """How an answer comes from the logits where the scores of this card were measured."""
    told = (
        "In training and for the scores below a long passage is read in overlapping windows; the answer is the span of "
        f"at most {LONGEST_ANSWER} tokens with the largest sum of start and end logits in any of them"
    )
    if task.unanswerable:
        told += f", and none unless that sum is more than {task.null_threshold:g} above the lowest of the first tokens'"
    return f"{told}.\n"


def _measured(task: Mapping[str, Any], results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A task's scores by split, of the evaluation whose model was kept: not the task's own best one."""
    step = results.get("best_model", {}).get("step")
    entry = next((one for one in task["history"] if one["step"] == step), task["best"])
    dev = _in_words(entry["metrics"])
    found = [("dev", dev + ALIKE if dev and entry.get("constant") else dev)]
    if test := task.get("test"):
        low, high = test["interval"]
        words = f"{_in_words(test['metrics'])} (95 % interval over rows: {low:.2f} to {high:.2f})"
        found.append(("test", words + ALIKE * bool(test.get("constant"))))
    return [(split, words) for split, words in found if words]


def _in_words(metrics: Mapping[str, Any]) -> str:
    numbers = {n: v for n, v in metrics.items() if isinstance(v, Real) and not isinstance(v, bool)}
    return ", ".join(f"{name} {float(value):.2f}" for name, value in numbers.items())


_ROWS = """```python
from transformers import pipeline
classify = pipeline("text-classification", "{name}"{trust})
print(classify({row}, truncation=True))
```
"""
LOADING: Mapping[str, str] = {
    "": """```python
from transformers import AutoModel, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained("{name}"{trust}), AutoModel.from_pretrained("{name}"{trust})
states = model(**tokenizer("A text.", return_tensors="pt")).last_hidden_state
```
""",
    "Classification": _ROWS,
    "Regression": _ROWS,
    "Ranking": """```python
from transformers import AutoModelForMultipleChoice as Model, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained("{name}"{trust}), Model.from_pretrained("{name}"{trust})
rows = tokenizer(["A text."] * 2, ["One option.", "Another."], padding=True, return_tensors="pt")
print(model(**{{key: value[None] for key, value in rows.items()}}).logits)
```
""",
    "SeqenceLabeling": """```python
from transformers import pipeline
tag = pipeline("token-classification", "{name}", aggregation_strategy="first"{trust})
print(tag("A text."))
```
A word's first piece says its tag. Words were what stands between spaces. The pipeline splits them at punctuation, so it
tags the parts of `well-known` one by one; `tokenizer(text.split(), is_split_into_words=True)` keeps words whole.
""",
    "Span": """```python
from transformers import AutoModelForQuestionAnswering as Model, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained("{name}"{trust}), Model.from_pretrained("{name}"{trust})
rows = tokenizer("A question?", "A passage.", truncation="only_second", return_tensors="pt")
print(model(**rows).start_logits, model(**rows).end_logits)
```
""",
}
"""How each kind of task is loaded; "" is the encoder alone."""
