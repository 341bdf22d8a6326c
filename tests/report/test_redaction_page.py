"""The report of a redaction as a page."""

from pii_kit.documents import document_of_spans, write_documents
from pii_kit.labels import NAME_STUDENT
from pii_kit.redact import Redaction
from pii_kit.redact.essays import read_essays
from pii_kit.redact.release import redact_essays, report_of
from pii_kit.report.redaction_page import write_redaction_page


def test_the_page_has_counts_and_places_but_no_text(tmp_path):
    spans = [("By ", None), ("Ana Silva", NAME_STUDENT), (". Ana met xsilvax. Will", None)]
    write_documents(tmp_path / "in.json", [document_of_spans(41, spans), document_of_spans(9, [("No.", None)])])
    essays = read_essays(tmp_path / "in.json")
    labels = [document.labels for document in essays.documents.values()]
    report = report_of(redact_essays(essays, labels, Redaction(mode="type")), {"submission": "abc123<"})
    write_redaction_page(tmp_path / "page.html", report)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "1 of 2 documents changed. Leaks: 1 unexplained, 0 with a reason." in page
    assert report["output_sha256"][0] in page and "not for publication" in page
    assert "<td>entry 1 (document 41)</td>" in page and "NAME_STUDENT" in page
    assert "abc123&lt;" in page and "abc123<" not in page
    assert not any(word in page.casefold() for word in ("ana ", "silva", "xsilvax"))
