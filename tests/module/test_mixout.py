"""Mixout against its formula, and that it leaves no trace but in training."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import Tensor, nn

from module.mixout import Mixout
from tests.tiny_models import FAMILIES


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.GELU(), nn.Linear(8, 4))
        self.mixout: Mixout | None = None

    def forward(self, states: Tensor) -> Tensor:
        return self.encoder(states)


def moved(p: float) -> tuple[Toy, Tensor]:
    """A model whose weights have left the pretrained ones, and its input."""
    torch.manual_seed(0)
    model = Toy()
    model.mixout = Mixout(model.encoder, p)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(torch.randn_like(param))
    return model, torch.randn(5, 6)


def by_definition(w: Tensor, pretrained: Tensor, mask: Tensor, p: float) -> Tensor:
    """The paper's Eq. 6."""
    return ((1 - mask) * w + mask * pretrained - p * pretrained) / (1 - p)


def test_each_element_is_the_pretrained_one_or_scaled_and_the_expectation_is_the_weight() -> None:
    model, states = moved(0.7)
    layer, pretrained = model.encoder[0], model.mixout.pretrained()["0"].double()  # type: ignore[union-attr]
    w, seen, share, count = layer.weight.detach().double(), torch.zeros(8, 6), 0.0, 4000
    eye = torch.eye(6)
    for _ in range(count):
        mixed = (layer(eye) - layer.bias).T.detach()
        mask = ((mixed.double() - pretrained).abs() < 1e-5).double()
        torch.testing.assert_close(mixed.double(), by_definition(w, pretrained, mask, 0.7), atol=1e-4, rtol=1e-4)
        seen += mixed
        share += mask.mean().item()
    assert share / count == pytest.approx(0.7, abs=0.01)
    spread = ((w - pretrained).abs() * (0.7 / 0.3) ** 0.5).max().item() / count**0.5
    assert (seen.double() / count - w).abs().max().item() < 5 * spread


def test_evaluation_and_state_dict_are_those_of_a_plain_model() -> None:
    model, states = moved(0.7)
    plain = Toy()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(states), plain.eval()(states))
    assert not torch.equal(model.train()(states), model(states)), "each pass has masks of its own"
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_with_p_zero_training_is_plain_without_dropout() -> None:
    model, states = moved(0.0)
    assert torch.equal(model.train()(states), model.eval()(states))


def test_the_gradient_goes_to_the_weights_that_were_used() -> None:
    model, states = moved(0.5)
    layer, pretrained = model.encoder[3], model.mixout.pretrained()["3"]  # type: ignore[union-attr]
    used = (layer(torch.eye(8)) - layer.bias).T
    used.sum().backward()
    mask = ((used - pretrained).abs() < 1e-6).float()
    torch.testing.assert_close(layer.weight.grad, (1 - mask) / 0.5)


def test_pretrained_weights_go_to_another_model_and_others_are_refused() -> None:
    model, states = moved(0.7)
    fresh = Toy()
    fresh.mixout = Mixout(fresh.encoder, 0.7)
    fresh.mixout.load_pretrained(model.mixout.pretrained())  # type: ignore[union-attr]
    fresh.load_state_dict(model.state_dict())
    outputs = []
    for each in (model, fresh):
        torch.manual_seed(3)
        outputs.append(each.train()(states))
    assert torch.equal(*outputs)
    with pytest.raises(ValueError, match="another encoder"):
        fresh.mixout.load_pretrained({"0": torch.zeros(2, 2)})


@pytest.mark.parametrize("model_type", FAMILIES)
def test_it_takes_the_place_of_all_dropout_of_every_family(model_type: str) -> None:
    """ModernBERT and Longformer keep probabilities as numbers; the masks reach the layers of all."""
    config = FAMILIES[model_type].__class__.from_dict(FAMILIES[model_type].to_dict())
    for name in vars(config):
        if "dropout" in name and isinstance(getattr(config, name), (int, float)):
            setattr(config, name, 0.4)
    torch.manual_seed(0)
    encoder = transformers.AutoModel.from_config(config)
    ids = torch.randint(5, 60, (2, 8))
    plain = encoder.eval()(ids).last_hidden_state
    mixout = Mixout(encoder, 0.7)
    assert torch.equal(encoder.eval()(ids).last_hidden_state, plain)
    unmoved = encoder.train()(ids).last_hidden_state
    torch.testing.assert_close(unmoved, plain, msg="dropout is left, or weights that have not moved are mixed wrongly")
    with torch.no_grad():
        for param in encoder.parameters():
            param.add_(0.1 * torch.randn_like(param))
    outputs = [encoder(ids).last_hidden_state for _ in range(2)]
    assert not torch.equal(*outputs), "each pass has masks of its own"
    mixed = {name for name, layer in encoder.named_modules() if isinstance(layer, nn.Linear)}
    assert mixout.pretrained().keys() == {name for name in mixed if not name.startswith("pooler")}


def test_an_encoder_without_linear_layers_is_refused() -> None:
    """SqueezeBERT's are convolutions: training would be plain, and without dropout."""
    config = transformers.SqueezeBertConfig(
        vocab_size=9, hidden_size=8, embedding_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    encoder = transformers.SqueezeBertModel(config)
    with pytest.raises(ValueError, match="Mixout mixes linear layers, and SqueezeBertModel has none"):
        Mixout(encoder, 0.7)
