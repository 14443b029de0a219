"""From names to models: what is found, how it is set up, and what is refused."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from diffolio import miniatures
from diffolio.errors import BadInput, UnknownName, Unsupported
from diffolio.models import Model, load, loading
from tests.models.tiny import SCHEDULE, TINY

PRODUCT = {"sd": PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, skip_prk_steps=True),
           "pixart": DPMSolverMultistepScheduler(beta_start=0.0001, beta_end=0.02)}  # fmt: skip


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pipelines on disk as users have them: float16 safetensors, with the schedulers that are shipped."""
    base = tmp_path_factory.mktemp("checkpoints")
    made = {}
    for which in ("sd", "pixart", "sd3"):
        pipeline = TINY[which]()
        own = pipeline.scheduler
        pipeline.scheduler = PRODUCT.get(which, own)
        try:
            pipeline.save_pretrained(base / which, safe_serialization=True)
        finally:
            pipeline.scheduler = own
        halve(base / which)
        made[which] = base / which
    return made


def halve(folder: Path) -> None:
    """Every weight file in float16, as checkpoints are often published."""
    from safetensors.torch import load_file, save_file

    for path in folder.rglob("*.safetensors"):
        weights = {name: w.half() if w.is_floating_point() else w for name, w in load_file(path).items()}
        save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("which", ["sd", "pixart", "sd3"])
def test_a_folder_of_half_weights_is_run_in_float32(
    folders: dict[str, Path], which: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load(folders[which], device="cpu")
    parts = [part for part in model.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {p.dtype for part in parts for p in part.parameters()} == {torch.float32}
    assert not any(p.requires_grad for part in parts for p in part.parameters())
    assert not any(part.training for part in parts)
    assert model.name == which
    assert model.architecture == which
    original = next(iter(TINY[which]().vae.parameters()))
    assert torch.equal(next(iter(model.vae.parameters())), original.half().float())
    assert torch.isfinite(model.sample("a red circle", steps=1, height=64, width=64).images).all()
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_the_scheduler_is_ddim_on_the_models_own_schedule(folders: dict[str, Path]) -> None:
    for which in ("sd", "pixart"):
        scheduler = load(folders[which], device="cpu").scheduler
        assert type(scheduler) is DDIMScheduler
        torch.testing.assert_close(scheduler.alphas_cumprod, PRODUCT[which].alphas_cumprod)
        assert not scheduler.config.clip_sample
        assert not scheduler.config.set_alpha_to_one
    flow = load(folders["sd3"], device="cpu").scheduler
    assert type(flow) is FlowMatchEulerDiscreteScheduler
    assert flow.config.shift == 3.0


@pytest.mark.parametrize("source", [PNDMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler])
def test_any_solver_of_the_same_schedule_becomes_ddim(source) -> None:  # type: ignore[no-untyped-def]
    given = {key: SCHEDULE[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    made = loading.deterministic(source(**given, prediction_type="v_prediction"))
    assert type(made) is DDIMScheduler
    assert made.config.prediction_type == "v_prediction"
    assert not made.config.clip_sample
    torch.testing.assert_close(made.alphas_cumprod, DDIMScheduler(**given).alphas_cumprod)


def test_some_schedulers_stay_and_some_are_unknown() -> None:
    for scheduler in (DDIMScheduler(), LCMScheduler(), FlowMatchEulerDiscreteScheduler()):
        assert loading.deterministic(scheduler) is scheduler
    with pytest.raises(Unsupported, match="EDMEulerScheduler"):
        loading.deterministic(EDMEulerScheduler())


def test_a_bundled_name(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniatures, "WEIGHTS", folders["sd"].parent)
    assert miniatures.available() == ["pixart", "sd", "sd3"]
    model = load("sd", device="cpu")
    assert model.guidance_scale == 4.0
    assert load(folders["sd"], device="cpu").guidance_scale == 7.5
    with pytest.raises(UnknownName, match="Did you mean pixart"):
        load("pixarts")


def test_unknown_names_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown model"):
        load("stable-defusion")
    with pytest.raises(BadInput):
        load("")
    for missing in (tmp_path / "none", "./none/at/all", "model.safetensors"):
        with pytest.raises(BadInput, match="there is no folder"):
            load(missing)
    with pytest.raises(BadInput, match=r"model_index\.json"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["v1-5.ckpt", "model.bin", "model.pt"])
def test_a_pickle_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match=r"pickle.*safetensors"):
        load(tmp_path / name)


def test_a_single_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match=r"single file.*diffusers folder"):
        load(tmp_path / "model.safetensors")


def test_a_folder_with_a_pickle_inside_is_refused_unread(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["sd"], tmp_path / "pickled")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(BadInput, match=r"unet holds its weights as a pickle.*convert"):
        load(folder)


def test_another_pipeline_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(Unsupported, match=r"FluxPipeline is not supported.*StableDiffusion3Pipeline"):
        load(tmp_path)


def test_a_broken_checkpoint(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["sd"], tmp_path / "broken")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadInput, match="cannot be loaded"):
        load(folder, device="cpu")
    (folder / "model_index.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        load(folder)


def test_half_precision_is_for_gpus(folders: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match="float32"):
        load(folders["sd"], device="cpu", dtype=torch.float16)


def test_a_hub_id_without_a_connection_is_a_clear_error_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port that nobody listens on; the cache is empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    begun = time.monotonic()
    with pytest.raises(BadInput, match="cannot be reached and owner/name is not in the local cache"):
        load("owner/name")
    assert time.monotonic() - begun < 10


def test_the_offline_switch_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(loading.urllib.request, "urlopen", lambda *args, **kwargs: pytest.fail("asked the network"))
    with pytest.raises(BadInput, match="local diffusers folder"):
        load("owner/name")


def test_a_hub_model_in_the_cache_needs_no_connection(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(folders["sd"], snapshot)
    (tmp_path / "models--owner--name" / "refs").mkdir()
    (tmp_path / "models--owner--name" / "refs" / "main").write_text(snapshot.name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    path = loading._hub_index("owner/name")
    assert path[0]["_class_name"] == "StableDiffusionPipeline"
    assert path[1] is True


def test_a_model_is_described() -> None:
    model = Model(TINY["sdxl"](), name="mine")
    assert repr(model) == "Model(mine, StableDiffusionXLPipeline, cpu, torch.float32)"
    assert (model.factor, model.channels, model.default_size, model.prediction) == (8, 4, 128, "epsilon")
    assert model.kinds == {"unet", "sdxl"}
    assert model.guidance_scale == 5.0
    assert Model(TINY["sd3"]()).kinds == {"transformer", "sd3"}
    assert Model(TINY["pixart"]()).kinds == {"transformer", "pixart"}
