"""What goes wrong between client and Kaggle, as one line each: what was sent, what Kaggle said, what to do."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from pii_kit.errors import KitError
from pii_kit.kaggle import COMPETITION

ADVICE = {
    400: "see that kaggle_metadata.json says what you mean",
    401: "get a new token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN to it",
    403: "see that it is yours, that your phone number is verified (accelerators and internet need it) and that you "
    f"accepted the rules at https://www.kaggle.com/competitions/{COMPETITION}/rules",
    404: "see that the name is right, and that it was pushed",
    409: "the title or slug is taken: choose others in kaggle_metadata.json",
    429: "wait a while, then run the command again",
}
LATER = "Kaggle is in trouble: run the command again later"


class Unreachable(KitError):
    """No answer that means anything: the same call may go well later."""


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Every way in which the client's calls in the block can fail, as a KitError that begins with `what`.

    Unreachable, where it was no refusal: a time-out, no connection, too many requests, or trouble at Kaggle.
    """
    try:
        yield
    except requests.Timeout as error:
        detail = "no answer from Kaggle in time; it may have arrived, so look at the site before another try"
        raise Unreachable(f"{what}: {detail}") from error
    except requests.ConnectionError as error:
        detail = f"no connection to Kaggle ({type(error).__name__}); see that this machine has one, then run it again"
        raise Unreachable(f"{what}: {detail}") from error
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as error:
        # The last four are how the client stumbles over a reply that it does not understand, and how it refuses input.
        refused = http_error(error)
        if refused is not None:
            raise _refusal(what, refused) from error
        if isinstance(error, json.JSONDecodeError | KeyError | TypeError | AttributeError):
            detail = "Kaggle's reply is broken or not Kaggle's (a proxy?); run the command again later"
            raise Unreachable(f"{what}: {detail} ({_in_one_line(repr(error))})") from error
        raise KitError(f"{what}: {_in_one_line(str(error))}") from error


def http_error(error: BaseException | None) -> requests.HTTPError | None:
    """The refusal that an exception comes from: the client hides some of them behind a guess of its own."""
    while error is not None:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return error
        error = error.__context__
    return None


def http_status(error: requests.HTTPError) -> int:
    """The status of a refusal; Kaggle may send it in the body of a reply whose own status is 200."""
    content = _content(error.response)
    code = content.get("code")
    return code if error.response.status_code < 400 and isinstance(code, int) else error.response.status_code


def _refusal(what: str, error: requests.HTTPError) -> KitError:
    status = http_status(error)
    message = _content(error.response).get("message") or error.response.reason or "no reason given"
    advice = ADVICE.get(status, LATER if status >= 500 else "run the command again later")
    seconds = error.response.headers.get("Retry-After", "")
    if status == 429 and seconds.isdecimal():
        advice = f"wait {seconds} s, then run the command again"
    kind = Unreachable if status == 429 or status >= 500 else KitError
    return kind(f"{what}: Kaggle refuses (HTTP {status}): {_in_one_line(str(message))}; {advice}")


def _content(response: requests.Response) -> dict:
    """The reply's JSON object, if it is one: error pages of servers on the way are not."""
    try:
        content = response.json()
    except requests.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _in_one_line(text: str) -> str:
    return " ".join(text.split())[:300]
