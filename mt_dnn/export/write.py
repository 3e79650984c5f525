"""An export from beginning to end: a folder that is whole and that was compared with our model, or no folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from data_utils.atomic import write_new_folder
from data_utils.errors import StoppedError
from data_utils.task_def import TaskDef
from mt_dnn.export.card import Card
from mt_dnn.export.check import TOLERANCE, encoder_difference, loaded_difference, other_tokens, tells_breaks
from mt_dnn.export.folder import write_classifier, write_encoder, write_tokenizer
from mt_dnn.export.heads import place_of
from mt_dnn.export.onnx_file import ONNX_FILE, write_onnx
from mt_dnn.export.onnx_file import TOLERANCE as ONNX_TOLERANCE
from mt_dnn.predict import TrainedModel
from mt_dnn.record.finished import Run


@dataclass(frozen=True)
class Export:
    """What to write, and where.

    Attributes:
        task: the one whose head goes along; None for the encoder alone.
        output: a folder that is empty or not there.
        onnx: whether to add `model.onnx`.
    """

    trained: TrainedModel
    run: Run
    task: TaskDef | None
    output: Path
    onnx: bool = False

    def write(self) -> dict[str, float]:
        """Write the folder.

        Returns:
            The largest difference between our outputs and those of each thing that was written, by its name.

        Raises:
            InputError: the task's head cannot be written.
            StoppedError: something that was written differs, or it cannot be written; no folder is left.
        """
        differences: dict[str, float] = {}
        try:
            write_new_folder(self.output, lambda folder: differences.update(self._fill(folder)))
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise StoppedError(f"{self.output} cannot be written: {reason}; nothing of it is left") from error
        return differences

    def _fill(self, folder: Path) -> dict[str, float]:
        trained, found = self.trained, {}
        if trained.tokenizer is not None:
            types = trained.model.encoder.uses_type_ids
            write_tokenizer(trained.tokenizer, self.max_length, type_ids=types, folder=folder)
        if self.task is None:
            write_encoder(trained.model.encoder, folder)
            found["the encoder"] = encoder_difference(trained.model.encoder, folder)
        else:
            write_classifier(trained.model, self.task, folder)
            found["the model"] = loaded_difference(trained.model, self.task, folder)
        self._refuse(found, TOLERANCE)
        if trained.tokenizer is not None and (text := other_tokens(trained.tokenizer, folder, self.max_length)):
            raise StoppedError(
                f"{self.output} is not written: the tokenizer, loaded from it, reads {text!r} as other tokens"
            )
        if self.task is not None and self.onnx:
            found[ONNX_FILE] = write_onnx(trained.model, self.task, folder)
            self._refuse({ONNX_FILE: found[ONNX_FILE]}, ONNX_TOLERANCE)
        (folder / "README.md").write_text(self._card().text(), encoding="utf-8")
        for path in folder.iterdir():  # weights are written for their owner alone
            shutil.copymode(folder / "README.md", path)
        return found

    @property
    def max_length(self) -> int:
        """Tokens of the longest row: as in training, else as the tokenizer says, and what the encoder takes at most."""
        encoder = self.trained.model.encoder.max_length
        if self.trained.trained_length is not None:
            return self.trained.trained_length
        tokenizer = self.trained.tokenizer
        return encoder if tokenizer is None else min(encoder, tokenizer.model_max_length)

    @property
    def custom(self) -> bool:
        """Whether code has to come along."""
        return self.task is not None and place_of(self.trained.model.encoder, self.task) is None

    def _card(self) -> Card:
        trained = self.trained
        breaks = trained.tokenizer is not None and tells_breaks(trained.tokenizer)
        names = tuple(trained.tasks)
        return Card(self.output.name, self.task, names, self.run, self.custom, self.max_length, self.onnx, breaks)

    def _refuse(self, found: dict[str, float], tolerance: float) -> None:
        """Raise `StoppedError` for a difference that rounding does not explain."""
        for what, value in found.items():
            if value > tolerance:
                raise StoppedError(
                    f"{self.output} is not written: {what}, loaded from it, differs from the run's model by "
                    f"{value:.2g} (allowed: {tolerance:g}); predict.py takes the run as it is"
                )
