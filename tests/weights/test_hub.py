"""The Hugging Face hub, without a network: what is asked of it, and what its absence looks like."""

import json

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError, HFValidationError
from tiny import tiny_classifier

import effdet_lab
from effdet_lab.errors import DataError, MachineError
from effdet_lab.weights import hub, published
from effdet_lab.weights.header import header_of
from effdet_lab.weights.save import save_weights
from effdet_lab.weights.source import read


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A hub that holds one of our networks as somebody/bees."""
    spec = tiny_classifier()
    folder = tmp_path / "hub"
    save_weights(folder / "model.safetensors", effdet_lab.build_model(spec).state_dict(), header_of(spec))
    asked = []

    def download(repo_id, file, revision, local_files_only):
        asked.append((repo_id, file, revision))
        if "/" not in repo_id:
            raise HFValidationError(repo_id)
        if not (folder / file).exists():
            raise EntryNotFoundError(file)
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return folder, asked


def test_ours_are_loaded_by_the_name_of_their_repository(repository):
    _, asked = repository
    model = effdet_lab.load("hub:somebody/bees@v2")
    assert model.spec == tiny_classifier()
    assert {entry[0] for entry in asked} == {"somebody/bees"}
    assert {entry[2] for entry in asked} == {"v2"}


def test_timms_description_is_read_where_there_is_one(repository):
    folder, _ = repository
    from safetensors.torch import load_file, save_file

    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors")  # without our header
    config = {"architecture": "efficientnet_b0", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "config.json").write_text(json.dumps(config))
    conventions = read("hub:somebody/bees").conventions
    assert (conventions.padding, conventions.pixels) == ("symmetric", ((0.5,) * 3, (0.25,) * 3))


def test_a_name_without_an_owner_is_refused(repository):
    with pytest.raises(DataError, match="a hub's name is OWNER/NAME"):
        read("hub:bees")


def test_without_network_the_hub_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "_network", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"hub:somebody/bees: .* of somebody/bees is not on this machine"):
        read("hub:somebody/bees")


def test_a_push_makes_the_repository_and_uploads_the_files_named(tmp_path, monkeypatch):
    done = []

    class Api:
        def create_repo(self, repository, exist_ok):
            done.append(("create", repository, exist_ok))

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
            done.append(("upload", repo_id, folder_path, allow_patterns))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    address = hub.push(tmp_path, "somebody/bees", ["model.safetensors"])
    assert done == [
        ("create", "somebody/bees", True),
        ("upload", "somebody/bees", tmp_path, ["model.safetensors"]),
    ]
    assert address.endswith("/somebody/bees, loaded as hub:somebody/bees")


def test_a_push_that_fails_names_the_files_and_the_way(tmp_path, monkeypatch):
    class Api:
        def create_repo(self, repository, exist_ok):
            raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(MachineError, match=r"did not take it \(no route to host\).*hf auth login"):
        hub.push(tmp_path, "somebody/bees", ["model.safetensors"])
