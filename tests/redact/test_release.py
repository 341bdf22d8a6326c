"""Output, mapping and report: the input comes back byte for byte, and nothing else gives it back."""

import json
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_essays import NAME, TEXT, competition, labels_of, write

from pii_kit.documents import read_documents
from pii_kit.files import KitError
from pii_kit.labels import LABELS
from pii_kit.redact import MODES, Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.release import redact_essays, report_of, restore, write_release
from pii_kit.sample import make_documents

KEY = b"a key of a test, not a secret"


def release_of(path, *, mode="type", **more):
    essays, key = read_essays(path), KEY if mode == "hash" else None
    return redact_essays(essays, map(labels_of, essays.documents.values()), Redaction(mode=mode, key=key, **more))


texts = st.lists(
    st.sampled_from(
        ["Ana Silva", "Silva", "ana", '"', ",", ";", "\n", "\r\n", "\\", "é", "𝒳", "\x00", " ", "a", "a@b.de"]
    ),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(texts.map("".join), min_size=1, max_size=3),
    st.sampled_from(MODES),
    st.sampled_from(["json", "ascii.json", "jsonl", "csv", "txt", "folder"]),
    st.randoms(use_true_random=False),
)
@pytest.mark.filterwarnings("ignore::pii_kit.documents.DataWarning")
def test_any_text_in_any_form_is_restored_exactly(tmp_path_factory, bodies, mode, form, rng):
    folder = tmp_path_factory.mktemp("form")
    entries = [competition(text, number) for number, text in enumerate(bodies)]
    entries = [entry | {"labels": rng.choices(LABELS, k=len(entry["tokens"]))} for entry in entries]
    path = folder / f"in.{form}"
    if form.endswith("json"):
        write(path, json.dumps(entries, ensure_ascii=form == "ascii.json", indent=3))
    elif form == "jsonl":
        write(path, "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in bodies))
    elif form == "csv":
        write(path, "text,n\r\n" + "".join('"{}",=1\r\n'.format(text.replace('"', '""')) for text in bodies))
    elif form == "folder":
        path.mkdir()
        for number, text in enumerate(bodies):
            write(path / f"{number}.txt", text)
    else:
        write(path, bodies[0])
    essays = read_essays(path)
    labels = [rng.choices(["O", *LABELS], k=len(document.tokens)) for document in essays.documents.values()]
    release = redact_essays(essays, labels, Redaction(mode=mode, key=KEY))
    out, mapping, back = (folder / name for name in (f"out.{form}", "map", "back"))
    write_release(release, out, mapping)
    assert restore(out, mapping, back) == len(essays.contents)
    for name, content in essays.contents.items():
        assert (back / name if name else back).read_bytes() == content
    again = read_essays(out).documents
    assert {document.full_text for document in again.values()} <= {one.text for one in release.redacted}
    if form.endswith("json"):
        assert [*again.values()] == [one.document for one in release.redacted]


def test_only_its_owner_may_read_a_mapping_and_what_is_restored(tmp_path):
    path, out, mapping = write(tmp_path / "in.txt", "By Ngozi Okwuosa"), tmp_path / "out.txt", tmp_path / "map.json"
    mapping.write_text("an earlier one")
    mapping.chmod(0o666)
    old = os.umask(0)
    try:
        write_release(release_of(path), out, mapping)
        restore(out, mapping, tmp_path / "back.txt")
    finally:
        os.umask(old)
    modes = [stat.S_IMODE(file.stat().st_mode) for file in (mapping, tmp_path / "back.txt")]
    assert modes == [0o600, 0o600] and {file.name for file in tmp_path.iterdir()} == {
        "in.txt",
        out.name,
        mapping.name,
        "back.txt",
    }


@pytest.mark.parametrize("broken", ["out", "mapping"])
def test_if_one_cannot_be_written_both_stay_as_they_were(tmp_path, monkeypatch, broken):
    """The release before can still be restored."""
    path, out, mapping = write(tmp_path / "in.txt", "By Ngozi Okwuosa"), tmp_path / "out.txt", tmp_path / "map.json"
    write_release(release_of(path), out, mapping)
    before, replace = out.read_bytes(), os.replace

    def fail(source, target):
        if str(target).endswith(out.name if broken == "out" else mapping.name):
            raise OSError("no space")
        replace(source, target)

    release = release_of(write(tmp_path / "other.txt", "By Ngozi Okwuosa, twice: Ngozi"))
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_release(release, out, mapping)
    monkeypatch.undo()
    if broken == "out":
        restore(out, mapping, tmp_path / "back.txt")
        assert out.read_bytes() == before and (tmp_path / "back.txt").read_text() == "By Ngozi Okwuosa"


def test_restore_refuses_changed_files_other_files_and_damaged_mappings(tmp_path):
    path, out, mapping, back = (
        write(tmp_path / "in.txt", TEXT),
        tmp_path / "out.txt",
        tmp_path / "map",
        tmp_path / "back",
    )
    write_release(release_of(path), out, mapping)
    content = json.loads(mapping.read_text())
    wrong = ["[]", "{", "{}", json.dumps(content | {"files": 3}), json.dumps(content | {"format": "x"})]
    wrong.append(json.dumps(content | {"files": [content["files"][0] | {"original": "AAAA"}]}))
    wrong.append(json.dumps(content | {"files": [content["files"][0] | {"name": "../x"}]}))
    for damaged in wrong:
        with pytest.raises(KitError, match="not a mapping"):
            restore(out, write(tmp_path / "wrong.json", damaged), back)
    with pytest.raises(KitError, match="no such file"):
        restore(out, tmp_path / "none.json", back)
    for data in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(KitError, match="expected what was written"):
            restore(data, mapping, back)
    out.write_bytes(out.read_bytes() + b" ")
    with pytest.raises(KitError, match="changed since"):
        restore(out, mapping, back)
    assert not back.exists()


def test_a_report_counts_and_holds_no_text_no_seed_and_no_digest_of_the_input(tmp_path):
    path = write(tmp_path / "in.csv", 'id,text\nq7,"By Ngozi Okwuosa. Okwuosa met xokwuosax, @kenito"\nq8,Nothing\n')
    release = release_of(path, mode="surrogate", seed=918273, allow=["zebra"])
    report = report_of(release, {"submission": "labels.csv"})
    assert report["types"][NAME] == {"label": 1, "pattern": 0, "denied": 0, "mention": 1, "kept": 0}
    assert report["types"]["USERNAME"]["pattern"] == 1
    assert report["leaks"]["unexplained"] == 1 and report["look_at_first"] == ["row 2 (id q7)"]
    assert [mention["name"] for mention in report["mentions"]] == ["row 2 (id q7)"]
    written = json.dumps(report).lower()
    assert not any(word in written for word in ("ngozi", "okwuosa", "zebra", "kenito", "918273", "input"))
    assert "not for publication" in report["note"]
    write_release(release, tmp_path / "out.csv", tmp_path / "map.json")
    assert json.loads((tmp_path / "map.json").read_text())["seed"] == 918273


@pytest.mark.parametrize("mode", ["surrogate", "hash"])
def test_made_up_essays_are_redacted_without_unexplained_leaks(tmp_path, mode):
    documents = make_documents(60, seed=3)
    entries = [competition(document.full_text, document.number) for document in documents]
    essays = read_essays(write(tmp_path / "in.json", json.dumps(entries)))
    chosen = Redaction(mode=mode, key=KEY if mode == "hash" else None, seed=0, patterns=False)
    release = redact_essays(essays, [document.labels for document in documents], chosen)
    n_changed = sum(bool(one.changes) for one in release.redacted)
    assert n_changed == sum(bool(document.types) for document in documents) > 0
    assert len(release.unexplained) <= 2
    write_release(release, tmp_path / "out.json")
    assert [document.full_text for document in read_documents(tmp_path / "out.json")] == [
        one.text for one in release.redacted
    ]
