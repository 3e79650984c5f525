"""What an update minimises: a function of model, task and batch.

An objective yields its terms, scalars that are sums over the batch's units (rows, or words). `mt_dnn.update` divides
each by the units of the whole update, and runs its backward pass before it asks for the next one: gradients add up,
and memory holds one graph at a time. Everything an objective computes runs under the update's autocast. It calls the
model through `forward` alone, so it works on one process, under DDP and under FSDP. For every batch of a task it must
yield equally many terms, so that processes stay in step.

What an objective takes for the loss of a task's logits is its `criterion`. Distillation (`distill`) is another
criterion: soft labels are one more entry of `batch.targets`, and the task's loss against its labels is mixed with its
`kd_loss` against them. So it goes with any objective.

To train with a further one: a subclass of `Objective` in a file of its own, a line in `registry.py`, and a section of
`mt_dnn.config.TrainConfig` with the same name for its hyper-parameters. To study it: a row of `studies/methods.py` with
its flags and its look in figures, and in a suite's recipes its values with their source (`paper.yml`) and what may be
searched (`search.yml`). For people: a section of docs/methods.md. `tests/studies/test_recipes.py` lists all methods.

An objective can do three things that `Plain` does not:
- Look ahead. SMART finds a perturbation of the word embeddings by extra forward passes and `torch.autograd.grad`, which
  leaves the parameters' gradients alone, and yields one term that depends on two outputs.
- Take turns. FreeLB yields each ascent step's share of the loss. When it goes on, its perturbation has its gradient, up
  to a factor, and takes the next step.
- Change the batch. R-Drop runs its rows twice, side by side.
"""

from mt_dnn.objectives.objective import Criterion, Forward, Objective
from mt_dnn.objectives.plain import Plain, criterion, task_loss

__all__ = ["Criterion", "Forward", "Objective", "Plain", "criterion", "task_loss"]
