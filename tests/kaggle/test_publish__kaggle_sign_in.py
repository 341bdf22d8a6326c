import sys

import pytest
from requests.adapters import HTTPAdapter

from pii_kit.files import KitError
from pii_kit.kaggle.publish import connect


def test_the_user_is_whom_the_credentials_belong_to(stub):
    with connect() as kaggle:
        assert kaggle.user == "writer"
    assert stub.calls == []


def test_without_credentials_one_line_says_where_to_get_them(stub, monkeypatch, capsys):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    with (
        pytest.raises(KitError, match=r"^no credentials for Kaggle: get a token at https://"),
        connect(),
    ):
        pass
    assert capsys.readouterr() == ("", "")


def test_without_the_client_one_line_says_how_to_install_it(stub, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "kaggle"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(KitError, match=r"client is not installed: pip install kaggle==2\.2\.4 six"), connect():
        pass


def test_a_token_that_kaggle_does_not_know_is_refused(stub, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    stub.refuse("IntrospectToken", 401, "Unknown token")
    with pytest.raises(KitError, match=r"signing in: Kaggle refuses \(HTTP 401\): Unknown token"), connect():
        pass
    stub.refuse("IntrospectToken", 403, "Unknown token")
    with pytest.raises(KitError, match="no credentials for Kaggle"), connect():
        pass


def test_signing_in_is_bounded_in_time_too(stub, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_new")
    stub.hangs.add("IntrospectToken")
    with pytest.raises(KitError, match="signing in: no answer from Kaggle in time"), connect(silence=0.3):
        pass


def test_a_key_that_others_can_read_is_told_of(stub, monkeypatch, tmp_path, capsys):
    from kaggle.api.kaggle_api_extended import KaggleApi

    key = tmp_path / "kaggle.json"
    key.write_text('{"username": "writer", "key": "secret"}')
    key.chmod(0o644)
    monkeypatch.setattr(KaggleApi, "config", str(key))
    with connect():
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert "readable by other users" in err
    assert "secret" not in err


def test_other_users_of_requests_are_left_alone_afterwards(stub):
    before = HTTPAdapter.send
    with connect():
        assert HTTPAdapter.send is not before
    assert HTTPAdapter.send is before
