"""A folder of rollouts as it stands."""

import os
import time

import pytest

from sidecar.control import documents


def text(name="chat", canary=5):
    return (
        "apiVersion: canary.dev/v1\nkind: Rollout\n"
        f"metadata: {{name: {name}}}\nspec:\n  unit: [{{header: x-user-id}}]\n"
        f"  variants: [{{name: stable, weight: 95}}, {{name: canary, weight: {canary}}}]\n"
    )


def scanned(folder):
    found = documents.scan(folder)
    return sorted(found.declared.documents), sorted(found.declared.faulty), found


def test_a_folder_gives_its_documents_named_relative_to_it(tmp_path):
    (tmp_path / "a.yaml").write_text(text("chat") + "---\n" + text("shop"))
    (tmp_path / "b.json").write_text("")
    (tmp_path / "b.json").unlink()
    (tmp_path / "notes.txt").write_text("not ours")
    names, faulty, found = scanned(tmp_path)
    assert (names, faulty, found.mistakes) == (["chat", "shop"], [], ())
    assert found.declared.complete
    assert found.declared.documents["chat"].file == "a.yaml"


def test_one_mistake_makes_the_whole_file_faulty(tmp_path):
    (tmp_path / "a.yaml").write_text(text("chat") + "---\n" + text("shop", canary=-1))
    (tmp_path / "b.yaml").write_text(text("other"))
    names, faulty, found = scanned(tmp_path)
    assert (names, faulty) == (["other"], ["a.yaml"])
    assert str(tmp_path / "a.yaml") in found.mistakes[0].message
    assert "remedy" in found.mistakes[0].message


def test_an_empty_file_is_a_mistake(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    names, faulty, found = scanned(tmp_path)
    assert (names, faulty) == ([], ["a.yaml"])
    assert found.mistakes


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path):
    (tmp_path / "a.yaml").symlink_to(tmp_path / "nowhere.yaml")
    (tmp_path / "b.yaml").write_text(text())
    names, faulty, found = scanned(tmp_path)
    assert (names, faulty) == (["chat"], ["a.yaml"])
    assert "no such file" in found.mistakes[0].message


def test_two_claims_to_a_name_make_both_files_faulty(tmp_path):
    (tmp_path / "a.yaml").write_text(text("chat"))
    (tmp_path / "b.yaml").write_text(text("chat", canary=9))
    names, faulty, _ = scanned(tmp_path)
    assert (names, faulty) == ([], ["a.yaml", "b.yaml"])


def test_a_vanished_folder_is_incomplete(tmp_path):
    names, _, found = scanned(tmp_path / "gone")
    assert names == []
    assert not found.declared.complete
    assert "no such file or directory" in found.mistakes[0].message


def test_a_folder_without_files_is_incomplete_like_one_that_vanished(tmp_path):
    names, _, found = scanned(tmp_path)
    assert names == []
    assert not found.declared.complete
    assert "echo '[]' > none.yaml" in found.mistakes[0].message


@pytest.mark.parametrize("nothing", ["[]", "# all done\n[]\n"])
def test_a_file_may_say_that_nothing_is_declared(tmp_path, nothing):
    (tmp_path / "none.yaml").write_text(nothing)
    names, faulty, found = scanned(tmp_path)
    assert (names, faulty, found.mistakes, found.declared.complete) == ([], [], (), True)


def test_a_mounted_config_map_is_read_through_its_links_once(tmp_path):
    generation = tmp_path / "..2026_11_23"
    generation.mkdir()
    (generation / "chat.yaml").write_text(text())
    (tmp_path / "..data").symlink_to(generation)
    (tmp_path / "chat.yaml").symlink_to(tmp_path / "..data" / "chat.yaml")
    names, faulty, _ = scanned(tmp_path)
    assert (names, faulty) == (["chat"], [])


def test_a_single_file_may_stand_for_a_folder(tmp_path):
    (tmp_path / "a.yaml").write_text(text())
    assert scanned(tmp_path / "a.yaml")[0] == ["chat"]


def test_a_file_is_parsed_again_only_after_it_changed(tmp_path, monkeypatch):
    """Also if size and time of change are the same: what changed just now is read once more."""
    parsed, parse = [], documents.rollout.parse
    monkeypatch.setattr(documents.rollout, "parse", lambda s: parsed.append(s.name) or parse(s))
    files = [tmp_path / f"{name}.yaml" for name in ("chat", "shop")]
    for file in files:
        file.write_text(text(file.stem))
    folder = documents.Folder(tmp_path)
    folder.scan()
    folder.scan()
    assert len(parsed) == 4
    hour_later = time.time_ns() + 3_600_000_000_000
    monkeypatch.setattr(documents.time, "time_ns", lambda: hour_later)
    first = folder.scan()
    del parsed[:]
    again = folder.scan()
    assert (parsed, again) == ([], first)
    assert again.declared.documents["chat"] is first.declared.documents["chat"]
    files[0].write_text(text("chat", canary=9))
    assert folder.scan().declared.documents["chat"].weights["canary"] == 9
    assert parsed == [str(files[0])]


def test_what_was_found_between_files_goes_with_the_file_that_caused_it(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "_CLOCK_TICK_NS", -(1 << 62))
    (tmp_path / "chat.yaml").write_text(text("chat"))
    folder = documents.Folder(tmp_path)
    assert not folder.scan().mistakes
    (tmp_path / "rival.yaml").write_text(text("chat"))
    assert len(folder.scan().mistakes) == len(folder.scan().mistakes) == 2
    (tmp_path / "rival.yaml").unlink()
    assert not folder.scan().mistakes
    (tmp_path / "chat.yaml").unlink()
    assert list(folder.scan().declared.documents) == []


@pytest.mark.parametrize("change", ["content", "delete", "add", "replace"])
def test_the_stamp_changes_with_the_files(tmp_path, change):
    file = tmp_path / "a.yaml"
    file.write_text(text())
    before = documents.stamp(tmp_path)
    assert documents.stamp(tmp_path) == before
    if change == "content":
        file.write_text(text(canary=10))
    elif change == "delete":
        file.unlink()
    elif change == "add":
        (tmp_path / "b.yaml").write_text(text("shop"))
    else:
        (tmp_path / "new").write_text(text())
        os.utime(tmp_path / "new", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        (tmp_path / "new").rename(file)
    assert documents.stamp(tmp_path) != before
