"""Where a benchmark's files come from: a file, a folder, the hub at a commit."""

import socket
from pathlib import Path
from types import ModuleType

import pytest

from mutual_taught.errors import InputError, MissingFileError
from mutual_taught.evaluation import benchmarks
from mutual_taught.evaluation.benchmarks import generic_pairs
from mutual_taught.evaluation.benchmarks.base import Hub
from mutual_taught.measuring import data

BRING = "or bring data/test.jsonl of data set owner/bench, and name it with --data"


@pytest.fixture
def published(here: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark `pairs` as if somebody had published it, at a commit that is not known."""
    monkeypatch.setattr(generic_pairs, "HUB", Hub("owner/bench", ("data/test.jsonl",)))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return generic_pairs


def test_a_folder_gives_its_files_in_order_of_their_names(here: Path) -> None:
    for name in ("b.json", "a.jsonl", "README.md"):
        (here / name).touch()
    assert data.files("pairs", here, None) == [here / "a.jsonl", here / "b.json"]


def test_a_folder_gives_the_files_of_folders_within_it_packed_ones_too(here: Path) -> None:
    for name in ("b/x.jsonl.gz", "a/y.json", "a/notes.md"):
        path = here / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert data.files("pairs", here, None) == [here / "a/y.json", here / "b/x.jsonl.gz"]


def test_a_folder_without_a_file_of_a_known_format_is_refused(here: Path) -> None:
    with pytest.raises(MissingFileError, match=r"holds no file that ends in \.parquet, \.jsonl"):
        data.files("pairs", here, None)


def test_without_a_commit_the_user_has_to_name_one(published: ModuleType) -> None:
    with pytest.raises(InputError) as error:
        data.files("pairs", None, None)
    assert str(error.value) == (
        "benchmark 'pairs': no commit of owner/bench is known here; expected --revision with the "
        f"one to measure on; {BRING}"
    )


def test_a_hub_that_does_not_answer_says_which_file_to_bring(
    published: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(
        InputError, match=r"127\.0\.0\.1 cannot be reached \(ConnectionRefused"
    ) as error:
        data.files("pairs", None, "a" * 40)
    assert str(error.value).endswith(f"expected the hub; check the network, {BRING}")


def test_the_hub_is_not_asked_when_it_is_off(
    published: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set; expected the hub; unset it, or"):
        data.files("pairs", None, "a" * 40)


def test_what_was_fetched_before_is_not_fetched_again(published: ModuleType, here: Path) -> None:
    path = here / ".work" / "benchmarks" / "pairs" / ("a" * 40) / "data" / "test.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    assert [found.resolve() for found in data.files("pairs", None, "a" * 40)] == [path.resolve()]


@pytest.mark.parametrize("name", benchmarks.REGISTRY)
def test_a_benchmark_without_data_says_how_to_get_it(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="--data"):
        data.files(name, None, None)
