from conftest import make_document

from pii_kit.report import compare as cost
from pii_kit.windows import cut_windows


def test_speed_is_measured_on_every_document(sha_rnn_tagger, documents):
    essays = [*documents[:3], make_document("", 99), documents[3]]
    n_pieces_read = []
    handle = sha_rnn_tagger.model.register_forward_pre_hook(
        lambda model, args, kwargs: n_pieces_read.append(int(kwargs["attention_mask"].sum())), with_kwargs=True
    )
    try:
        assert cost.tokens_per_second(sha_rnn_tagger, essays, repeats=2) > 0
    finally:
        handle.remove()
    windows = [
        window
        for essay in essays
        for window in cut_windows(
            essay, sha_rnn_tagger.tokenizer, size=sha_rnn_tagger.window_size, overlap=sha_rnn_tagger.overlap
        )
    ]
    assert sum(n_pieces_read) == 2 * sum(map(len, windows))


def test_documents_without_tokens_have_no_speed(sha_rnn_tagger):
    assert cost.tokens_per_second(sha_rnn_tagger, [make_document("")], repeats=1) == 0
