"""Every family, compiled from a tiny random model, against transformers on every way of feeding tokens."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibrated import WatchedGptq, calibrated
from families import GEMMA3_ROPE, LLAMA3, SIZES, VARIANTS, WINDOW, text_model
from whole_model import load_reference

from duomem.compile import bundle as writer
from duomem.compile.gate import reference
from duomem.compile.library.target import load_target
from duomem.compile.weights import gptq
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.layered import LayeredModel, set_weight
from duomem.compile.weights.quantize import dequantize, load_stored
from duomem.device.engine.bundle import Bundle
from duomem.device.engine.schemes import SCHEMES
from duomem.device.engine.tvm_engine import TvmEngine, TvmSession
from duomem.device.engine.weights import read_tensor_cache

BOUND = 1e-3
CONTEXT = 160
PROMPT, STEPS = 96, 32


@pytest.fixture(scope="session")
def family_model(tmp_path_factory: pytest.TempPathFactory, byte_tokenizer: Path) -> Callable[[str], Path]:
    """family_model(variant) is the folder of its tiny model, written once."""

    @cache
    def make(variant: str) -> Path:
        folder = tmp_path_factory.mktemp("families") / variant
        text_model(variant).save_pretrained(folder, max_shard_size="150KB" if variant == "qwen2" else "1GB")
        shutil.copy(byte_tokenizer / "tokenizer.json", folder)
        return folder

    return make


@pytest.fixture(scope="session")
def compiled(
    tmp_path_factory: pytest.TempPathFactory, family_model: Callable[[str], Path]
) -> Callable[[str, str], Bundle]:
    """compiled(variant, scheme) is its bundle, built once."""

    @cache
    def make(variant: str, scheme: str) -> Bundle:
        return compile_model(family_model(variant), scheme, tmp_path_factory.mktemp("bundles") / f"{variant}-{scheme}")

    return make


def compile_model(folder: Path, scheme: str, out: Path) -> Bundle:
    """A whole bundle, but for the gate: the tests here compare more, and report what differs."""

    @contextlib.contextmanager
    def no_gate(*_: Any) -> Iterator[Any]:
        yield lambda bundle, _: {"max_abs_diff": 0.0, "bound": BOUND, "libraries": {}, "int8": {"mean_kl": {}}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "comparing", no_gate)
        return writer.compile_bundle(folder, load_target("host"), scheme, out, CONTEXT, activations="exact")[0]


def tokens() -> list[int]:
    return [int(i) for i in np.random.default_rng(0).integers(0, SIZES["vocab_size"], PROMPT + STEPS)]


def logits(model: Any) -> np.ndarray:
    """float32 [PROMPT + STEPS, vocab]: transformers' logits after each token, all in one go."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([tokens()])).logits[0].numpy()


def decode(session: TvmSession, ids: list[int]) -> np.ndarray:
    return np.stack([session.decode(token) for token in ids])


def differences(bundle: Bundle, reference: np.ndarray) -> dict[str, float]:
    """Largest absolute difference of a logit for each way of feeding the tokens."""
    ids, third = tokens(), PROMPT // 3
    engine = TvmEngine.open(bundle, max_sessions=2)
    session = engine.session()
    found = {"prefill": (session.prefill(ids[:PROMPT]), reference[PROMPT - 1])}
    session.rollback(PROMPT)
    found["all"] = (session.prefill_all(ids[:PROMPT]), reference[:PROMPT])
    session.rollback(PROMPT)
    pieces = [session.prefill(ids[a : a + third]) for a in range(0, PROMPT, third)]
    found["chunked_prefill"] = (np.stack(pieces), reference[third - 1 : PROMPT : third])
    child = session.fork()
    found["decode"] = (decode(session, ids[PROMPT:]), reference[PROMPT:])
    session.rollback(STEPS + third)
    found["rollback"] = (session.prefill_all(ids[PROMPT - third :]), reference[PROMPT - third :])
    session.close()
    found["fork"] = (decode(child, ids[PROMPT:]), reference[PROMPT:])
    child.rollback(STEPS + PROMPT - 5)
    found["fork_rollback"] = (decode(child, ids[5:45]), reference[5:45])
    child.close()
    return {name: float(np.abs(ours - theirs).max()) for name, (ours, theirs) in found.items()}


@pytest.mark.parametrize("variant", [v if v == "llama" else pytest.param(v, marks=pytest.mark.slow) for v in VARIANTS])
def test_logits_are_those_of_transformers(
    variant: str, compiled: Callable[[str, str], Bundle], family_model: Callable[[str], Path]
) -> None:
    expected = logits(load_reference(Checkpoint(family_model(variant))))
    assert expected.std() > 0.5
    worst = differences(compiled(variant, "q0f32"), expected)
    assert all(value < BOUND for value in worst.values()), worst


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_matters(variant: str, family_model: Callable[[str], Path]) -> None:
    """Else the comparison above would not see it dropped or misread."""
    import torch

    checkpoint = Checkpoint(family_model(variant))
    model = load_reference(checkpoint)
    before = logits(model)
    sources = {source for weight in checkpoint.config.weights() for source in weight.sources}
    if checkpoint.config.tie_word_embeddings:
        sources.add("lm_head.weight")
    assert sources == set(model.state_dict())
    for source in sources:
        parameter = model.get_parameter(source)
        kept = parameter.data
        parameter.data = torch.roll(kept, 1, 0)
        assert np.abs(logits(model) - before).max() > 10 * BOUND, source
        parameter.data = kept


@pytest.mark.parametrize(
    ("variant", "change"),
    [
        ("llama", {"rope_parameters": LLAMA3 | {"factor": 4.0}}),
        ("llama", {"rms_norm_eps": 1e-2}),
        ("qwen2", {"rope_parameters": {"rope_theta": 2e4, "rope_type": "default"}}),
        ("gemma2", {"sliding_window": WINDOW + 1}),
        ("gemma2", {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
        ("gemma2", {"attn_logit_softcapping": 5.0}),
        ("gemma2", {"final_logit_softcapping": 7.0}),
        ("gemma2", {"query_pre_attn_scalar": 32}),
        ("gemma2", {"hidden_activation": "silu"}),
        ("gemma3", {"sliding_window": WINDOW - 1}),
        ("gemma3", {"rope_parameters": GEMMA3_ROPE | {"full_attention": GEMMA3_ROPE["sliding_attention"]}}),
        ("gemma3", {"rope_parameters": GEMMA3_ROPE | {"sliding_attention": GEMMA3_ROPE["full_attention"]}}),
    ],
)
def test_every_setting_matters(variant: str, change: dict, family_model: Callable[[str], Path]) -> None:
    """Else the comparison above would not see it dropped or misread."""
    import transformers

    folder = family_model(variant)
    other = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", **change).eval()
    assert np.abs(logits(other) - logits(load_reference(Checkpoint(folder)))).max() > 3 * BOUND


@pytest.mark.parametrize("variant", VARIANTS)
def test_set_weight_undoes_reading(variant: str, family_model: Callable[[str], Path]) -> None:
    """The weights as read, set into the model, are the model: biases, fused names, Gemma's 1 + w."""
    checkpoint = Checkpoint(family_model(variant))
    model = load_reference(checkpoint)
    before = logits(model)
    for weight in checkpoint.config.weights():
        array = checkpoint.matrix(weight)
        assert array.shape == weight.shape
        set_weight(model, "", checkpoint.config, weight, np.zeros_like(array))
        set_weight(model, "", checkpoint.config, weight, array)
    assert np.abs(logits(model) - before).max() < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_calibration_walks_the_layers_as_transformers_does(
    variant: str, family_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing rounded, what reaches the head is transformers' own hidden state."""
    import torch

    checkpoint = Checkpoint(family_model(variant))
    monkeypatch.setattr(gptq, "set_weight", lambda *_: None)
    run = gptq._Run(checkpoint, "q4f32_1", lambda *_: None)
    monkeypatch.setattr(run, "_embedding", lambda ids: checkpoint.rows(gptq.EMBEDDING, ids))
    with torch.no_grad():
        found = run.run([tokens()])
        expected = load_reference(checkpoint).model(torch.tensor([tokens()])).last_hidden_state[0]
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gate_walks_the_layers_as_transformers_does(variant: str, family_model: Callable[[str], Path]) -> None:
    """Logits of chosen rows, layer by layer, are the whole model's."""
    checkpoint = Checkpoint(family_model(variant))
    texts = [tokens(), tokens()[:9]]
    rows = [[0, 50, PROMPT], range(9)]
    found = list(reference._logits(LayeredModel(checkpoint), checkpoint.tensor, texts, rows))
    whole = logits(load_reference(checkpoint))
    assert np.abs(found[0] - whole[rows[0]]).max() < 1e-5
    assert np.abs(found[1] - whole[:9]).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "scheme"),
    [
        ("llama", "q4f16_0"),
        ("gemma3", "q4f16_0"),
        ("qwen2", "q4f16_1"),
        ("gemma2", "q4f32_1"),
        ("qwen3", "q8f16_1"),
        ("gemma3", "q0f16"),
    ],
)
def test_stored_weights_are_what_is_computed_with(
    variant: str, scheme: str, compiled: Callable[[str, str], Bundle], family_model: Callable[[str], Path]
) -> None:
    """Every scheme, with each way a family differs in what it stores: the reference takes the values read back.

    Kernels for 4 and 8 bits round their inputs to 16: what that costs must not show beside the rounded weights.
    """
    checkpoint, bundle = Checkpoint(family_model(variant)), compiled(variant, scheme)
    model = load_reference(checkpoint)
    original = logits(model)
    records = read_tensor_cache(bundle.model_dir)
    for weight in checkpoint.config.weights():
        set_weight(model, "", checkpoint.config, weight, load_stored(weight, records, scheme))
    expected = logits(model)
    drift = float(np.abs(expected - original).max())
    worst = differences(bundle, expected)
    bound = drift / 100 if SCHEMES[scheme].is_quantized else BOUND
    assert drift > BOUND and all(value < bound for value in worst.values()), (drift, worst)


def test_a_model_that_also_sees_is_read_as_its_text_decoder(
    tmp_path: Path, byte_tokenizer: Path, family_model: Callable[[str], Path]
) -> None:
    """Gemma 3 from 4B on: the same decoder inside Gemma3ForConditionalGeneration, beside a vision tower."""
    import transformers

    alone = Checkpoint(family_model("gemma3"))
    vision = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = transformers.AutoConfig.from_pretrained(alone.folder)
    config = {"text_config": text.to_dict(), "vision_config": vision.to_dict(), "mm_tokens_per_image": 4}
    whole = transformers.Gemma3ForConditionalGeneration(transformers.Gemma3Config(**config))
    source = transformers.AutoModelForCausalLM.from_pretrained(alone.folder)
    whole.model.language_model.load_state_dict(source.model.state_dict())
    whole.save_pretrained(tmp_path)
    shutil.copy(byte_tokenizer / "tokenizer.json", tmp_path)
    seeing = Checkpoint(tmp_path)
    assert seeing.architecture == "Gemma3ForConditionalGeneration"
    for ours, theirs in zip(seeing.config.weights(), alone.config.weights(), strict=True):
        assert ours == theirs and np.array_equal(seeing.matrix(ours), alone.matrix(theirs))
    assert seeing.config == alone.config
    assert np.array_equal(logits(load_reference(seeing)), logits(load_reference(alone)))


@pytest.mark.parametrize(
    ("variant", "scheme"), [("qwen2", "q4f16_1"), ("qwen3", "q8f16_1"), ("gemma2", "q4f16_0"), ("gemma3", "q4f32_1")]
)
def test_calibrated_rounding_covers_every_matrix(
    variant: str, scheme: str, family_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each keeps its outputs, on the inputs it was calibrated on, nearer than plain rounding does."""
    errors: list[tuple[float, float]] = []
    monkeypatch.setattr(WatchedGptq, "errors", errors, raising=False)
    monkeypatch.setattr(gptq, "Gptq", WatchedGptq)
    checkpoint = Checkpoint(family_model(variant))
    found = calibrated(checkpoint, gptq.Calibration((tuple(tokens()),), {}), scheme)
    matrices = {weight.name: weight for weight in checkpoint.config.weights() if weight.is_matrix}
    assert set(found) == set(matrices)
    for name, stored in found.items():
        assert dequantize(*stored).shape == matrices[name].shape
    rounded = len(matrices) - (not checkpoint.config.tie_word_embeddings)
    assert len(errors) == rounded and all(ours < plain for ours, plain in errors), errors
