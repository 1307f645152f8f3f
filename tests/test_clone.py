"""A clone has the same bytes everywhere, because DVC compares digests of what is in it."""

from pathlib import Path

import pytest

from tests import project


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.eol=crlf", "core.autocrlf=input"])
def test_clone_has_the_same_bytes_whatever_git_does_to_ends_of_lines(
    tmp_path: Path, setting: str
) -> None:
    repo = project.copy(tmp_path / "repo", "tiny")
    own = b'prompt\r\n"two\r\nlines"\r\n'
    (repo / "data" / "own.csv").write_bytes(own)
    project.git(repo, "-c", setting, "add", "data/own.csv")
    project.git(repo, "commit", "-qm", "own prompts")
    project.git(tmp_path, "clone", "-q", "-c", setting, "repo", "clone")
    names = project.git(repo, "ls-files").splitlines()
    assert {"params.yaml", "data/templates.yaml", "data/own.csv", "stages/dpo.py"} <= set(names)
    for name in names:
        assert (tmp_path / "clone" / name).read_bytes() == (repo / name).read_bytes(), name
    assert (tmp_path / "clone" / "data" / "own.csv").read_bytes() == own
