"""Published weights by name: what is known of them, and how their file is fetched."""

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor
from torchvision.models import get_model, get_model_weights

from besnet.checkpoints import weights_source
from besnet.checkpoints.lite import lite_file
from besnet.checkpoints.published_weights import Published, of_network, published, table
from besnet.checkpoints.weights_source import library_network, resolve
from besnet.data.labels import canonical, classes_named
from besnet.models.video_networks import KINDS

Serve = Callable[[str, bytes], str]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch.hub's; and of the Hugging Face hub's."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "huggingface"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Puts bytes on a web server of this machine and returns their URL. `cut` promises more than it sends."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name not in files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(files[name]) + 100 * self.path.startswith("/cut")))
            self.end_headers()
            self.wfile.write(files[name])

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def put(name: str, content: bytes) -> str:
        files[name.rpartition("/")[2]] = content
        return f"http://127.0.0.1:{server.server_port}/{name}"

    yield put
    server.shutdown()
    thread.join()
    server.server_close()


def packed(state: dict[str, Tensor]) -> tuple[bytes, str]:
    """A file of weights, and its hash."""
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue(), hashlib.sha256(stream.getvalue()).hexdigest()


def announce(monkeypatch: pytest.MonkeyPatch, *entries: Published) -> None:
    """Let these be the published weights of every network."""
    monkeypatch.setattr(weights_source, "of_network", lambda network: list(entries))
    monkeypatch.setattr(weights_source, "published", lambda network, name: entries[0])


@pytest.mark.parametrize("name", KINDS)
def test_every_video_network_has_weights_that_say_how_they_take_videos(name: str) -> None:
    """Kinetics' classes in the order of the official list; frames and sizes that go into the network."""
    found = of_network(name)
    assert found
    for one in found:
        assert [canonical(label) for label in one.classes] == [
            canonical(label) for label in classes_named("kinetics400")
        ]
        assert one.clip is not None
        KINDS[name].check_clip(one.clip.num_frames, one.crop_size)
        assert one.crop_size <= one.short_side
        assert one.licence
    if name in dict.fromkeys(KINDS) and found[0].library == "torchvision":
        entry = get_model_weights(name).DEFAULT
        preset = entry.transforms()
        assert published(name, "DEFAULT").name == entry.name
        assert [*found[0].normalisation.mean, *found[0].normalisation.std] == [*preset.mean, *preset.std]
        assert found[0].digest == entry.url.rpartition("-")[2].removesuffix(".pth")


def test_what_r2plus1d_and_mvit_say() -> None:
    r2plus1d, mvit = published("r2plus1d_18", "KINETICS400_V1"), published("mvit_v2_s", "KINETICS400_V1")
    assert r2plus1d.normalisation.mean[0] == pytest.approx(0.43216)
    assert (r2plus1d.crop_size, r2plus1d.short_side) == (112, 128)
    assert (mvit.clip.num_frames, mvit.clip.target_fps, mvit.clip.num_clips) == (16, 7.5, 5)  # type: ignore[union-attr]


def test_2d_weights_of_both_libraries_and_of_the_packages() -> None:
    names = {one.name: one for one in of_network("resnet50")}
    assert (names["IMAGENET1K_V2"].short_side, names["IMAGENET1K_V1"].short_side) == (232, 256)
    timms = timm.get_pretrained_cfg("resnet50.a1_in1k")
    assert names["a1_in1k"].url == timms.url
    assert names["a1_in1k"].short_side == int(224 / timms.crop_pct)
    assert "daisy" in names["a1_in1k"].classes[985]
    assert len(set(names["a1_in1k"].classes)) == len(set(names["IMAGENET1K_V1"].classes)) == 1000
    assert {one.library for one in of_network("timm/resnet50")} == {"timm"}
    assert {one.library for one in of_network("torchvision/resnet50")} == {"torchvision"}
    packaged, of_timm = of_network("tf_efficientnet_lite0")[:2]
    assert (packaged.name, packaged.classes) == ("lite", ())  # the package has no names of classes
    assert packaged.normalisation.mean[0] == pytest.approx(127 / 255)
    assert of_timm.normalisation.mean[0] == pytest.approx(0.5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_convert_their_input_themselves_when_torchvision_gives_them_weights(name: str) -> None:
    """What torchvision builds with weights takes ImageNet's normalisation, besnet's the converted one."""
    about = published(f"torchvision/{name}", "IMAGENET1K_V1")
    preset = get_model_weights(name).IMAGENET1K_V1.transforms()
    theirs = get_model(name, weights=None, transform_input=True, init_weights=False, aux_logits=False).eval()
    ours = get_model(name, weights=None, transform_input=False, init_weights=False, aux_logits=False).eval()
    ours.load_state_dict(theirs.state_dict())
    picture = torch.rand(1, 3, 96, 96)

    def normalised(mean: list[float], std: list[float]) -> Tensor:
        return (picture - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    expected = theirs(normalised(preset.mean, preset.std))
    torch.testing.assert_close(
        ours(normalised(list(about.normalisation.mean), list(about.normalisation.std))), expected
    )


def test_a_config_s_network_has_its_library_s_name() -> None:
    assert library_network({}) == "resnet50"
    assert library_network({"block": "basic", "blocks": [2, 2, 2, 2]}) == "resnet18"
    assert library_network({"blocks": [1, 1]}) == library_network({"width": 32}) == ""
    assert library_network({"backbone": "timm/resnet50"}) == "timm/resnet50"
    assert library_network({"network": "r3d_18"}) == "r3d_18"


def test_a_download_is_checked_and_kept(
    hub: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {"stem.weight": torch.randn(3, 2)}
    content, digest = packed(state)
    url = serve(f"net-{digest[:8]}.pth", content)
    about = replace(published("r3d_18", "DEFAULT"), url=url, digest=digest[:8])
    announce(monkeypatch, about)
    found = resolve("KINETICS400_V1", "r3d_18")
    assert torch.equal(found.state["stem.weight"], state["stem.weight"])
    assert (found.digest, found.published) == (digest, about)
    assert (hub / f"net-{digest[:8]}.pth").read_bytes() == content
    assert "downloading" in capsys.readouterr().out
    announce(monkeypatch, replace(about, url=f"http://127.0.0.1:9/net-{digest[:8]}.pth"))
    resolve("KINETICS400_V1", "r3d_18")  # from the cache: nothing listens there
    assert "downloading" not in capsys.readouterr().out
    by_hand = hub / f"net-{digest[:8]}.pth"
    by_hand.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="damaged, its hash begins with"):
        resolve("KINETICS400_V1", "r3d_18")


@pytest.mark.parametrize(
    ("place", "digest", "why"),
    [
        ("cut/net.pth", "", r"ended after [\d,]+ of [\d,]+ bytes"),
        ("net.pth", "0" * 8, "its hash begins with"),
        ("absent/other.pth", "", "Not Found"),
        ("", "", "Connection refused"),
    ],
)
def test_a_download_that_fails_leaves_no_file(
    hub: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, place: str, digest: str, why: str
) -> None:
    url = serve("net.pth", packed({"a": torch.zeros(3)})[0])
    url = url.replace("net.pth", place) if place else "http://127.0.0.1:9/net.pth"
    announce(monkeypatch, replace(published("r3d_18", "DEFAULT"), url=url, digest=digest))
    with pytest.raises(ValueError, match=why) as refused:
        resolve("KINETICS400_V1", "r3d_18")
    assert "\n" not in str(refused.value)
    assert not [file for file in hub.iterdir() if not file.name.endswith(".lock")]
    if why in ("Not Found", "Connection refused"):
        assert f"put that file at {hub}" in str(refused.value)


def test_a_web_page_that_came_instead_is_recognised(hub: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve("SLOW_8x8_R50.pyth", b"<!DOCTYPE html><html>sign in</html>")
    announce(monkeypatch, replace(table()[1], url=url))
    with pytest.raises(ValueError, match="a web page"):
        resolve("PYTORCHVIDEO_8X8", "slow_r50")


def test_timm_s_weights_go_through_timm(hub: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    network = timm.create_model("test_efficientnet", pretrained=False)
    content, digest = packed(network.state_dict())
    (about, *_) = of_network("test_efficientnet")
    announce(monkeypatch, replace(about, url=serve("model.safetensors", content), digest=""))
    with pytest.raises(ValueError, match="damaged, or not a file of weights"):  # a pickle under that name
        resolve(about.name, "test_efficientnet")
    announce(monkeypatch, replace(about, url=serve(f"net-{digest[:8]}.pth", content), digest=digest[:8]))
    found = resolve(about.name, "test_efficientnet")
    assert found.state.keys() == network.state_dict().keys()
    assert all(torch.equal(found.state[name], value) for name, value in network.state_dict().items())


def test_a_file_is_known_by_its_hash(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, digest = packed({"fc.weight": torch.randn(2, 3)})
    (tmp_path / "mine.pth").write_bytes(content)
    about = replace(published("r3d_18", "DEFAULT"), digest=digest[:8])
    announce(monkeypatch, about)
    assert resolve(str(tmp_path / "mine.pth"), "r3d_18").published == about
    announce(monkeypatch, replace(about, digest="0" * 8))
    assert resolve(str(tmp_path / "mine.pth"), "r3d_18").published is None


def test_the_lite_package_by_its_name_and_as_a_file() -> None:
    by_name = resolve("lite", "tf_efficientnet_lite0")
    by_file = resolve(str(lite_file("tf_efficientnet_lite0")), "tf_efficientnet_lite0")
    assert "conv_stem.weight" in by_name.state
    assert by_name.published == by_file.published
    assert by_name.digest == by_file.digest
    with pytest.raises(ValueError, match="the weights of another network than"):
        resolve(str(lite_file("tf_efficientnet_lite0")), "tf_efficientnet_lite1")


@pytest.mark.parametrize(
    ("source", "network", "why"),
    [
        ("KINETICS400_V2", "r3d_18", "did you mean 'KINETICS400_V1'"),
        ("lite", "r3d_18", "its published weights are: KINETICS400_V1"),
        ("nowhere/weights.pth", "r3d_18", "no such file of weights"),
        ("ResNet50_Weights.IMAGENET9", "resnet50", "torchvision has no such weights"),
        ("anything", "", "its published weights are: none"),
    ],
)
def test_what_is_neither_a_name_nor_a_file(source: str, network: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        resolve(source, network)
